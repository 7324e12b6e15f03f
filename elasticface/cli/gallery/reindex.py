"""`elasticface gallery reindex`: the index of a large collection, and what it is worth."""

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_place, open_gallery
from elasticface.cli.parser import Parser

HELP = "an index for a large collection, and its recall"

DESCRIPTION = """Make the HNSW index of a collection anew, and measure its recall on the collection itself.

Without an index every search is exact. With one, collections of more than 100,000 faces (of means: people) are searched
by it, and every answer says so, with the recall. While it is built nobody is enrolled or removed. Enrolling keeps the
index up to date; make it anew when the collection has grown much, for the recall was measured on what there was. --drop
removes it."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    add_place(parser)
    parser.add_argument("--probes", type=int, default=500, help="searches that the recall is measured with")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server that build it")
    parser.add_argument("--drop", action="store_true", help="remove the index: every search is exact again")


def run(options: Namespace) -> None:
    """Do it, and say what it is worth."""
    from elasticface.base.files import printable

    with open_gallery(options) as gallery:
        if options.drop:
            gallery.drop_index()
            print(f"{printable(gallery.name)}: no index; every search is exact")
            return
        recall = gallery.reindex(options.probes, options.workers)
        print(f"{printable(gallery.name)}: {'no index, since nobody is enrolled' if recall is None else recall}")
