"""`elasticface gallery search`: who of a collection is on a photo."""

import json

from jsonargparse import Namespace

from elasticface.cli.gallery.options import add_model, add_place, open_gallery
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_face_choice

HELP = "a photo -> who it is, or unknown"

DESCRIPTION = """Search the face on a photo among the people of a collection.

--fpir says how many of the searches for strangers may name somebody: the decision is by the threshold of a false match
rate that `elasticface calibrate` has measured, low enough for as many faces as there are, and whoever is below it is
unknown. Beside each person stands how many of the searches for strangers reach such a similarity, at most. A model that
is not calibrated gives similarities and no decision.

Every search says whether it is exact, or by an index and with which recall. Unknown is an answer, not an error: the
exit code is 0."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("photo", type=str, help="photo")
    add_place(parser)
    parser.add_argument(
        "--fpir", type=float, default=0.01, help="share of the searches for strangers that may name somebody"
    )
    parser.add_argument("--most", type=int, default=5, help="people that are shown")
    parser.add_argument("--exact", action="store_true", help="compare with every face, however many there are")
    add_face_choice(parser)
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace) -> None:
    """Search, and say what came out."""
    from elasticface.base import progress

    with open_gallery(options, with_model=True) as gallery:
        answer = gallery.search(
            options.photo, fpir=options.fpir, faces=options.faces, most=options.most, exact=options.exact
        )
    if answer.face is not None and answer.face.note is not None:
        progress.say(f"note: {answer.face.note}")
    if options.json:
        print(json.dumps(answer.as_json()))
        return
    print(*answer.lines(), sep="\n")
