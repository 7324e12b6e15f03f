"""`elasticface gallery import`: what `export` wrote into a database."""

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_database, print_enrolment
from elasticface.cli.parser import Parser

HELP = "what export wrote -> a collection"

DESCRIPTION = """Read a folder that `elasticface gallery export` wrote, into a new collection or one of the same model.

All of it is checked before anybody is enrolled: a damaged export changes nothing. Faces that are there already are
passed over, so that an import that was stopped is given again, and goes on."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("folder", type=str, help="folder that export wrote")
    add_database(parser)
    parser.add_argument("--collection", type=str | None, default=None, help="its name (default: as it was exported)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Do it, and say what was enrolled."""
    from elasticface.gallery.gallery import Gallery

    gallery, done = Gallery.load(options.folder, options.collection, database=options.database)
    with gallery:
        print_enrolment(done, gallery.stats(), options.json)
