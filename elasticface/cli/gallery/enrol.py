"""`elasticface gallery enrol`: photos of people into a collection."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.base.errors import InputError
from elasticface.cli.gallery.options import add_model, add_place, open_gallery, print_enrolment
from elasticface.cli.parser import Parser

HELP = "photos of people -> people that can be found"

DESCRIPTION = """Enrol the people of a folder or an uncompressed tar: each a folder of photos, or a single photo.

A photo is enrolled if it has one face (--faces largest or central chooses among several: see that it is the right one),
which is at least --smallest-enrolled pixels wide and has a detector's score of at least --least-score. --report writes
what became of every photo, and why.

What is enrolled is on the disk. The same photo twice is one face of a person, so a command that was stopped or killed
is given again, and goes on. Photos are not kept: only embeddings, the photos' names and, in a collection that was made
with --keep-faces, the aligned faces."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    from elasticface.gallery.rules import LEAST_SCORE, SMALLEST, FaceChoice

    parser.add_argument("photos", type=str, help="folder or uncompressed tar of people; with --person also one photo")
    add_place(parser)
    parser.add_argument("--person", type=str | None, default=None, help="whose photos all of them are")
    parser.add_argument("--faces", type=FaceChoice, default="single", help="which face, where a photo has several")
    parser.add_argument(
        "--smallest-enrolled", type=int, default=SMALLEST, help="width in pixels of the smallest face enrolled"
    )
    parser.add_argument("--least-score", type=float, default=LEAST_SCORE, help="detector's score of a face, at least")
    parser.add_argument("--report", type=str | None, default=None, help="CSV file of what became of every photo")
    parser.add_argument("--workers", type=int, default=2, help="processes that look for faces")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Do it, and say what was enrolled."""
    from elasticface.base import files
    from elasticface.data.images.photos import looks_like_photo
    from elasticface.gallery.enrolment import Enrolment
    from elasticface.gallery.rules import Rules

    report = None if options.report is None else Path(options.report)
    if report is not None:
        files.check_writable(report.parent, report.name)
    rules = Rules(options.faces, options.smallest_enrolled, options.least_score)
    one = looks_like_photo(options.photos) and Path(options.photos).is_file()
    if one and options.person is None:
        raise InputError(f"{files.printable(options.photos)}: is one photo; say whose with --person, or give a folder")
    with open_gallery(options, with_model=True) as gallery:
        if one:
            done = Enrolment()
            done.add(options.photos, gallery.enrol(options.person, options.photos, rules=rules))
        else:
            done = gallery.enrol_folder(options.photos, rules=rules, person=options.person, workers=options.workers)
        found = gallery.stats()
    if report is not None:
        done.write(report)
    if one and done.refused:
        raise InputError(f"{files.printable(options.photos)}: {done.refused[options.photos]}")
    print_enrolment(done, found, options.json)
    if report is not None and not options.json:
        print(options.report)
