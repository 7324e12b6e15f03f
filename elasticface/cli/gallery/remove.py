"""`elasticface gallery remove`: people out of a collection, for good."""

import json
from contextlib import closing

from jsonargparse import Namespace

from elasticface.base.errors import InputError, Stopped
from elasticface.cli.gallery.options import add_place
from elasticface.cli.parser import Parser

HELP = "people and their embeddings out of the database, for good"

DESCRIPTION = """Remove people by name, or --everyone and the collection too.

Their embeddings are deleted, the files that held them are written afresh, and the database's log of them is ended, so
that their bytes are gone; searches wait meanwhile. --no-erase leaves that for later: nobody finds them any more, but
bytes of theirs stay in freed space until `gallery remove` is given without names (a whole collection's files always go
at once). Where they are to be erased and bytes stay, the exit code is 1. What no removal reaches, such as backups, says
docs/gallery.md. The audit log keeps a line for each person: a number, no name."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("people", type=str, nargs="*", help="names; none: erase what earlier removals have left")
    add_place(parser)
    parser.add_argument("--everyone", action="store_true", help="remove all people, and the collection")
    parser.add_argument("--erase", type=bool, default=True, help="write the files afresh at once")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Do it, and say what was removed."""
    from elasticface.gallery import removal
    from elasticface.gallery.database import Database

    if options.everyone and options.people:
        raise InputError("names and --everyone: give one of them")
    if options.everyone and not options.erase:
        raise InputError("--everyone removes the collection's files with it: leave --no-erase out")
    if not (options.people or options.everyone or options.erase):
        raise InputError("nothing to do: give names, or --everyone, or leave --no-erase out")
    with closing(Database(options.database, create=False)) as database:
        if options.everyone:
            removed = removal.drop(database, options.collection)
        elif options.people:
            removed = removal.remove(database, options.collection, options.people, erase=options.erase)
        else:  # where the collection itself was removed, too
            removed = removal.erase(database, options.collection)
    print(json.dumps(vars(removed)) if options.json else "\n".join(removed.lines()))
    if options.erase and not removed.erased:
        raise Stopped("not all is erased from the files; the answer says what is left, and why")
