"""What a client may ask for, at most. Importing this brings nothing: the command line does it at once."""

from dataclasses import dataclass, fields

from elasticface.base.errors import InputError

MOST_CONNECTIONS = 512
"""Open connections, idle ones too; the 1,024 files that a process may open are not all ours."""

BACKLOG = 128
"""Connections that wait to be accepted."""

KEEP_ALIVE_SECONDS = 5
"""For which an idle connection is kept."""

HEAD_BYTES = 16 * 1024
"""Of a request's first line and headers."""

HEAD_SECONDS = 10.0
"""For a request's first line and headers to come."""

FIELD_BYTES = 1000
"""Of a form's field that is not a photo."""

MOST_COLLECTIONS = 100
"""Of a database, from which on clients make no more: each is tables. Those of the command line, which makes as many as
are wanted, count as well."""

MOST_CANDIDATES = 100
"""Of a search."""

MOST_PEOPLE = 1000
"""Of a page of a collection's people."""

MOST_FACES = 100
"""Of a page of a person's faces, which may come with their pictures."""

_MOST = {int: 1 << 40, float: 2_147_483.0}  # seconds: PostgreSQL has them as milliseconds in 32 bits
_MOST_BATCH = 4096  # the model's input for so many faces is allocated at once: 154 MB at 112 pixels


@dataclass(frozen=True)
class Limits:
    """Bounds on a request, on what is at work at one time, and on waiting.

    Of requests at most ``queue`` × ``request_bytes`` wait in memory, and of faces cut out of their photos ``queue`` ×
    ``most_faces`` (38 kB each at 112 pixels) or, of those to be enrolled, ``queue`` × ``photos``; a photo that is
    decoded takes 6 to 17 bytes a pixel, and ``threads`` of them are at one time. Answers that clients have not taken
    yet are beside that, about 11 kB for a face that ``/v1/embed`` has embedded, and as much as 50 kB (at 112 pixels)
    for each kept face, of which a search has up to 100 and a page of a person's faces as many.

    Raises:
        InputError: a number below 1, a time that is not above 0, a ``batch`` above 4,096, any other number above 2⁴⁰,
            or a time above 2,147,483.
    """

    request_bytes: int = 32 * 2**20
    photo_bytes: int = 16 * 2**20
    photos: int = 32  # of a request
    pixels: int = 2**25  # of a photo: 33 megapixels, by its header, before it is decoded
    most_faces: int = 64  # of a photo
    queue: int = 32  # requests that are received, wait, or are computed, at one time
    threads: int = 2  # photos that are decoded and looked at, at one time
    batch: int = 32  # faces that are embedded at one time
    batch_ms: float = 2.0  # that a face waits for others, at most, before it is embedded
    upload_seconds: float = 30.0  # for a request's body to come, and for a client to take an answer
    connections: int = 4  # of the galleries to their database: searches at one time
    database_seconds: float = 30.0  # that a request waits for the database, and a statement may take there
    stop_seconds: float = 30.0  # for the requests at work when the service is stopped

    def __post_init__(self) -> None:
        for field in fields(self):
            value, option = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if not (value > 0 or (field.name == "batch_ms" and value == 0)):
                raise InputError(f"{option} must be above 0, not {value:g}")
            most = _MOST_BATCH if field.name == "batch" else _MOST[type(field.default)]
            if value > most:
                raise InputError(f"{option} must be at most {most:,.0f}, not {value:,}")
