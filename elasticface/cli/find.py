"""`elasticface find`: who in a folder of people is on a photo."""

import json
from typing import Literal

from jsonargparse import Namespace

from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, open_finder

HELP = "a photo and a folder of people -> who it is, or unknown"

DESCRIPTION = """Search the face on a photo among people, each a folder of photos below PEOPLE.

Named are the most similar people, and whether the first of them is the person on the photo by the threshold that
`elasticface calibrate` has measured; otherwise the person is unknown. With more photos in PEOPLE a stranger has more
chances to match one by mistake: that rate is said."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("photo", type=str, help="photo")
    parser.add_argument("--in", type=str, required=True, help="folder of people, each a folder of photos")
    parser.add_argument("--model", type=str, default="default", help=MODEL_HELP)
    parser.add_argument(
        "--fmr",
        type=float | None,
        default=None,
        help="false match rate of the decision (default: the calibrated one nearest to 1e-3)",
    )
    parser.add_argument(
        "--faces", type=Literal["largest", "central"], default="largest", help="which face, where a photo has several"
    )
    add_finder_options(parser)
    add_model_options(parser)
    parser.add_argument("--workers", type=int, default=2, help="processes that look for faces")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Search, and say what came out."""
    from elasticface.base import progress
    from elasticface.faces.examples import with_examples
    from elasticface.recognition import load_calibration
    from elasticface.recognition.find import find

    encoder = load_model(options)
    found = find(
        options.photo,
        options["in"],
        encoder,
        open_finder(options),
        calibration=load_calibration(encoder, options.model),
        fmr=options.fmr,
        faces=options.faces,
        name=options.photo,
        workers=options.workers,
    )
    if found.face.note:
        progress.say(f"note: {found.face.note}")
    unusable = [f"{name}: {why}" for name, why in found.unusable.items()]
    for line in with_examples("note: photos that were not compared", unusable):
        progress.say(line)
    if options.json:
        print(json.dumps(found.as_json()))
        return
    point, rate = found.threshold.point, found.false_positive_rate
    if point is None or rate is None:
        print(f"no decision: {found.threshold.reason}")
    else:
        answer = found.person or "unknown"
        print(f"{answer}: the threshold is {point.threshold:.4f}, with a false match rate of {point.fmr:g}")
        gallery = f"{found.people:,} people ({found.comparisons:,} photos)"
        print(f"a stranger matches one of these {gallery} in at most {rate:.2g} of the searches")
    for number, candidate in enumerate(found.candidates, start=1):
        print(f"{number}. {candidate.person}  similarity {candidate.similarity:.4f}  {candidate.photo}")
