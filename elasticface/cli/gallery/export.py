"""`elasticface gallery export`: a collection as plain files."""

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_place, open_gallery
from elasticface.cli.parser import Parser

HELP = "a collection -> a folder of plain files"

DESCRIPTION = """Write a collection to the new folder OUT, as it is at this moment, whole or not at all.

OUT/collection.json says which model it is of, OUT/faces.jsonl has a line a face, and OUT/embeddings.npy a row a line,
float16. `elasticface gallery import` reads it. It holds names and embeddings of people: OUT is yours alone (mode 0700),
and so should be every copy."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("out", type=str, help="new folder")
    add_place(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was written."""
    with open_gallery(options) as gallery:
        print(f"faces exported: {gallery.export(options.out):,}")
    print(options.out)
