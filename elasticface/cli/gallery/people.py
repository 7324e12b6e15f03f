"""`elasticface gallery people`: who is enrolled."""

import json

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_place, open_gallery
from elasticface.cli.parser import Parser

HELP = "who is enrolled"

DESCRIPTION = """List the people of a collection, with the number of their faces, by name."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Print them."""
    from elasticface.base.files import printable

    with open_gallery(options) as gallery:
        people = gallery.people()
    if options.json:
        print(json.dumps([{**vars(person), "enrolled": person.enrolled.isoformat()} for person in people]))
        return
    for person in people:
        print(f"{printable(person.name)}  faces {person.faces:,}  since {person.enrolled:%Y-%m-%d}")
    print(f"people: {len(people):,}")
