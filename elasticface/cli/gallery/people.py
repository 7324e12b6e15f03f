"""`elasticface gallery people`: who is enrolled, and their faces where these are kept."""

import json
from pathlib import Path

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_place, open_gallery
from elasticface.cli.parser import Parser

HELP = "who is enrolled"

DESCRIPTION = """List the people of a collection, or those whose names are given, with the number of their faces.

With --faces OUT the kept faces are written to a new folder, OUT/PERSON'S NUMBER/FACE'S NUMBER.png, and the audit log
has a line of it. A collection keeps faces if it was made with `gallery create --keep-faces`."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("names", type=str, nargs="*", help="people; none: all of them")
    add_place(parser)
    parser.add_argument("--faces", type=str | None, default=None, help="new folder for their kept faces")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Print them, and write their faces."""
    from elasticface.base.files import printable

    with open_gallery(options) as gallery:
        people = gallery.people(options.names or None)
        written = None if options.faces is None else gallery.write_faces(options.faces, people)
    if options.json:
        told = [{**vars(person), "enrolled": person.enrolled.isoformat()} for person in people]
        print(json.dumps([one | ({} if written is None else {"pictures": written[one["id"]]}) for one in told]))
        return
    for person in people:
        where = ""
        if written is not None:
            where = f"  pictures {written[person.id]:,} in {printable(Path(options.faces) / str(person.id))}"
        print(f"{printable(person.name)}  faces {person.faces:,}  since {person.enrolled:%Y-%m-%d}{where}")
    print(f"people: {len(people):,}")
