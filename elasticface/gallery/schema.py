"""What the database holds, as SQL: one migration after the other, each once, in one transaction.

All of it is in the schema ``elasticface`` of the database, beside whatever else is there. A collection's people and
faces are partitions of their own, ``person_<id>`` and ``face_<id>``, and every statement names these: another
collection's are neither scanned, locked nor rewritten with them, and embeddings of different lengths lie side by side.
No statistics are kept on columns that hold names, embeddings or faces: PostgreSQL's statistics are samples of the
values, and would outlive their removal.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, LiteralString

from elasticface.base.errors import InputError

if TYPE_CHECKING:
    from psycopg import Cursor, sql

NAME = "elasticface"

LARGEST_HALFVEC = 4000
"""Numbers of a halfvec that pgvector indexes."""

MIGRATIONS: tuple[LiteralString, ...] = (
    """
    CREATE TABLE collection (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE CHECK (name <> '' AND octet_length(name) <= 255),
        model text NOT NULL,                -- its name, to show
        fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
        dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 4000),
        preprocessing jsonb NOT NULL,       -- from pixels to what the network takes
        detector text NOT NULL,             -- what found the faces, and with which settings
        aggregation text NOT NULL CHECK (aggregation IN ('best', 'mean')),
        people bigint NOT NULL DEFAULT 0,   -- how many there are, counted in the transaction that changes it
        faces bigint NOT NULL DEFAULT 0,
        created timestamptz NOT NULL DEFAULT now()
    );
    CREATE SEQUENCE person_id;              -- of all collections: the audit log names people by it
    CREATE TABLE person (
        id bigint NOT NULL DEFAULT nextval('person_id'),
        collection bigint NOT NULL,
        name text NOT NULL CHECK (name <> '' AND octet_length(name) <= 255),
        created timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (id, collection),
        UNIQUE (collection, name)
    ) PARTITION BY LIST (collection);
    CREATE SEQUENCE face_id;
    CREATE TABLE face (
        id bigint NOT NULL DEFAULT nextval('face_id'),
        collection bigint NOT NULL,
        person bigint NOT NULL,             -- of the collection; removed with it
        embedding halfvec NOT NULL,         -- of length 1
        photo bytea NOT NULL CHECK (octet_length(photo) = 32),  -- SHA-256 of the photo's bytes
        box integer[] NOT NULL,             -- x1, y1, x2, y2 in pixels; empty for an embedding that came without photo
        score real,                         -- the detector's
        source text NOT NULL CHECK (octet_length(source) <= 4096),  -- the photo's name
        enrolled timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (id, collection),
        UNIQUE (collection, photo, box)
    ) PARTITION BY LIST (collection);
    CREATE INDEX ON face (person);
    CREATE TABLE template (                 -- of collections by mean: a person's faces as one
        collection bigint NOT NULL,
        person bigint NOT NULL,
        embedding halfvec NOT NULL,
        PRIMARY KEY (person, collection)
    ) PARTITION BY LIST (collection);
    CREATE TABLE measured_index (           -- of collections with an HNSW index: what it is worth
        collection bigint PRIMARY KEY REFERENCES collection ON DELETE CASCADE,
        vectors bigint NOT NULL,            -- indexed when it was measured
        found bigint NOT NULL,              -- searches that found what the exact one finds, of
        searches bigint NOT NULL,
        measured timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE audit (                    -- who did what; neither names of people, nor photos, nor embeddings
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        time timestamptz NOT NULL DEFAULT now(),
        role text NOT NULL DEFAULT session_user,
        action text NOT NULL CHECK (action IN ('create', 'enrol', 'remove', 'drop', 'export', 'import')),
        collection text NOT NULL,
        person bigint,                      -- its id, which no other person will have
        faces bigint NOT NULL DEFAULT 0
    );
    ALTER TABLE person ALTER name SET STATISTICS 0;
    ALTER TABLE face ALTER embedding SET STATISTICS 0, ALTER source SET STATISTICS 0, ALTER photo SET STATISTICS 0;
    ALTER TABLE template ALTER embedding SET STATISTICS 0;
    """,
    """
    ALTER TABLE collection ADD COLUMN keeps_faces boolean NOT NULL DEFAULT false;
    ALTER TABLE face ADD COLUMN aligned bytea;  -- a PNG, of collections that keep faces; those made before keep none
    ALTER TABLE face ALTER aligned SET STATISTICS 0, ALTER aligned SET STORAGE EXTERNAL;
    """,
)

UNSAMPLED: dict[str, tuple[LiteralString, ...]] = {
    "person": ("name",),
    "face": ("embedding", "source", "photo", "aligned"),
    "template": ("embedding",),
}
"""Columns of each partitioned table of whose values no statistics are kept; partitions do not inherit that."""


def add_partitions(cursor: "Cursor[Any]", collection: int, tables: Iterable[str]) -> None:
    """The partitions of a new collection.

    Args:
        cursor: of a transaction.
        collection: its id.
        tables: of which tables, person first.
    """
    from psycopg import sql

    for table in tables:
        part = partition(table, collection)
        statement = sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES IN ({})")
        cursor.execute(statement.format(part, sql.Identifier(NAME, table), sql.Literal(collection)))
        for column in UNSAMPLED[table]:
            cursor.execute(sql.SQL("ALTER TABLE {} ALTER {} SET STATISTICS 0").format(part, sql.Identifier(column)))
        if table != "person":
            whose = sql.SQL(
                "ALTER TABLE {} ADD FOREIGN KEY (person, collection) REFERENCES {} (id, collection) ON DELETE CASCADE"
            )
            cursor.execute(whose.format(part, partition("person", collection)))


def partition(table: str, collection: int) -> "sql.Identifier":
    """The partition of a table that a collection has."""
    from psycopg import sql

    return sql.Identifier(NAME, f"{table}_{collection}")


def migrate(cursor: "Cursor[Any]", shown: str) -> None:
    """Bring the database to the newest schema, in the caller's transaction; two callers at once take turns.

    Args:
        cursor: of a transaction.
        shown: what to call the database in a message.

    Raises:
        InputError: the schema is that of a later version, or pgvector is missing or too old.
    """
    if (version := _version(cursor)) != len(MIGRATIONS):
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [NAME])
        version = _version(cursor)  # another caller may have been here
    if version > len(MIGRATIONS):
        raise InputError(
            f"{shown}: was written by a later elasticface (schema {version}, and this one knows {len(MIGRATIONS)}); "
            "update elasticface"
        )
    if not version:
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
        if cursor.fetchone() is None:
            raise InputError(f"{shown}: this server has no pgvector; install it, or use the embedded database")
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'elasticface'")
        if cursor.fetchone() is None:  # IF NOT EXISTS takes the right to make one, be there one or not
            cursor.execute("CREATE SCHEMA elasticface")
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA elasticface")
        cursor.execute("CREATE TABLE elasticface.migration (version integer PRIMARY KEY, time timestamptz NOT NULL)")
    cursor.execute("SELECT extversion, extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'")
    row = cursor.fetchone()
    if row is None or tuple(map(int, row[0].split(".")[:2])) < (0, 8):
        raise InputError(f"{shown}: pgvector 0.8 is needed, and there is {row[0] if row else 'none'}; update it there")
    cursor.execute("SELECT set_config('search_path', 'elasticface, ' || %s || ', public', false)", [row[1]])
    for number in range(version, len(MIGRATIONS)):
        cursor.execute(MIGRATIONS[number])
        cursor.execute("INSERT INTO migration VALUES (%s, now())", [number + 1])


def _version(cursor: "Cursor[Any]") -> int:
    """The number of migrations that were made."""
    # Not to_regclass: within a transaction it remembers that there was none.
    cursor.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'elasticface' AND tablename = 'migration'")
    if cursor.fetchone() is None:
        return 0
    cursor.execute("SELECT coalesce(max(version), 0) FROM elasticface.migration")
    found = cursor.fetchone()
    assert found is not None
    return int(found[0])
