"""`elasticface find`: who in a folder of people is on a photo."""

import json

from jsonargparse import Namespace

from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_face_choice, add_finder_options, open_finder

HELP = "a photo and a folder of people -> who it is, or unknown"

DESCRIPTION = """Search the face on a photo among people, each a folder of photos below PEOPLE, or a single photo there.

Named are the most similar people, and whether the first of them is the person on the photo by the threshold that
`elasticface calibrate` has measured; otherwise the person is unknown. With more photos in PEOPLE a stranger has more
chances to match one by mistake: that rate is said, and where it is above a half, nobody is named unless --fmr asks for
it. Every search looks for the faces of all PEOPLE anew."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("photo", type=str, help="photo")
    parser.add_argument("--in", type=str, required=True, help="folder of people: each a folder of photos, or one photo")
    parser.add_argument("--model", type=str, default="default", help=MODEL_HELP)
    parser.add_argument(
        "--fmr",
        type=float | None,
        default=None,
        help="false match rate of one comparison (default: the calibrated one nearest to 1e-3 over the photos)",
    )
    add_face_choice(parser)
    add_finder_options(parser)
    add_model_options(parser)
    parser.add_argument("--workers", type=int, default=2, help="processes that look for faces")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Search, and say what came out."""
    from elasticface.base import progress
    from elasticface.faces.examples import with_examples
    from elasticface.recognition.search import find

    encoder = load_model(options)
    found = find(
        options.photo,
        options["in"],
        encoder,
        open_finder(options),
        fmr=options.fmr,
        faces=options.faces,
        workers=options.workers,
    )
    for note in (found.face.note, found.threshold.note):
        if note is not None:
            progress.say(f"note: {note}")
    unusable = [f"{name}: {why}" for name, why in found.unusable.items()]
    for line in with_examples("note: photos that were not compared", unusable):
        progress.say(line)
    if options.json:
        print(json.dumps(found.as_json()))
        return
    print(*found.lines(), sep="\n")
