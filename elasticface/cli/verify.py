"""`elasticface verify`: whether two photos are of one person."""

import json
from pathlib import Path

from jsonargparse import Namespace

from elasticface.base.errors import InputError
from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_face_choice, add_finder_options, open_finder

HELP = "two photos -> one person or not, at which false match rate"

DESCRIPTION = """Compare the faces in two photos: similarity, decision, and what the decision is worth.

The decision is by a threshold of the model that `elasticface calibrate` has measured for a false match rate (FMR): the
share of comparisons of different people that are matched by mistake. A model that is not calibrated gives a similarity
and no decision. Different people are an answer, not an error: the exit code is 0."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("first", type=str, help="photo")
    parser.add_argument("second", type=str, help="photo")
    parser.add_argument("--model", type=str, default="default", help=MODEL_HELP)
    parser.add_argument(
        "--fmr",
        type=float | None,
        default=None,
        help="false match rate of the decision (default: the calibrated one nearest to 1e-3)",
    )
    add_face_choice(parser)
    add_finder_options(parser)
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=str | None, default=None, help="HTML page that shows both faces")


def run(options: Namespace) -> None:
    """Compare, and say what came out."""
    from elasticface.base import files, progress
    from elasticface.recognition.page import write_verification
    from elasticface.recognition.verification import verify

    page = Path(options.out) if options.out else None
    if page:
        if page.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"--out {files.printable(page)}: a web page is written; give a name that ends in .html")
        files.check_writable(page.parent, page.name)
    encoder = load_model(options)
    found = verify(
        options.first,
        options.second,
        encoder,
        open_finder(options),
        fmr=options.fmr,
        faces=options.faces,
    )
    for note in (*(face.note for face in found.faces), found.threshold.note):
        if note is not None:
            progress.say(f"note: {note}")
    if page:
        write_verification(page, found, encoder.card.name)
    if options.json:
        print(json.dumps(found.as_json()))
        return
    print(*found.lines(), sep="\n")
    if page:
        print(options.out)
