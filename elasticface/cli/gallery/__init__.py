"""`elasticface gallery`: people in a database, and searches among them; one thin module a command."""

from types import ModuleType

from elasticface.cli.gallery import create, enrol, export, load, people, reindex, remove, search, stats

HELP = "people in a database: enrol, search, remove"

DESCRIPTION = """Enrol people in a database, and ask who is on a photo: one of them, or unknown.

The database is embedded, in a folder of yours that nobody else may enter, or any PostgreSQL with pgvector by
--database postgresql://…. Embeddings are biometric data: docs/gallery.md says what that means."""

COMMANDS: dict[str, ModuleType] = {
    "create": create,
    "enrol": enrol,
    "search": search,
    "people": people,
    "remove": remove,
    "stats": stats,
    "export": export,
    "import": load,
    "reindex": reindex,
}
