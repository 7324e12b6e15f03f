"""`elasticface gallery stats`: what is in the database."""

import json
from contextlib import closing

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_database
from elasticface.cli.parser import Parser

HELP = "what is in the database: collections, sizes, indexes, audit log"

DESCRIPTION = """Say of every collection its model, people, faces, size on the disk and how it is searched.

--audit prints the audit log of the whole database instead, as CSV: when, as which role, what, in which collection, the
number of the person, and how many faces. It holds no names, photos or embeddings."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    add_database(parser)
    parser.add_argument("--audit", action="store_true", help="print the audit log")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Print it."""
    import csv
    import sys

    from elasticface.gallery.database import Database
    from elasticface.gallery.stats import AUDIT_COLUMNS, audit, stats

    with closing(Database(options.database, create=False)) as database:
        if options.audit:
            rows = audit(database)
            if options.json:
                print(json.dumps([dict(zip(AUDIT_COLUMNS, row, strict=True)) for row in rows]))
                return
            csv.writer(sys.stdout, lineterminator="\n").writerows([AUDIT_COLUMNS, *rows])
            return
        found = stats(database)
    if options.json:
        print(json.dumps([one.as_json() for one in found]))
        return
    print(database.shown)
    for one in found:
        print(*one.lines(), sep="\n")
    if not found:
        print("no collection yet: elasticface gallery create")
