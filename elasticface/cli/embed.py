"""`elasticface embed`: the embeddings of the faces in a folder of photos."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.cli.models import MODEL_HELP, add_model_options, load_model
from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, add_photos, open_finder, open_photos, wanted_people
from elasticface.faces.choice import Choice

HELP = "photos -> embeddings of the faces in them"

DESCRIPTION = """Find the faces in photos and write their embeddings.

PHOTOS is a folder or an uncompressed tar of photos as a camera makes them. OUT/embeddings.npy has a row of length 1 a
face, OUT/faces.csv says in the same order which photo each face is from, where it is and its score, and OUT/embed.json
names the photos without a face. The similarity of two faces is the inner product of their rows. Small and blurred
faces are alike without being one person's: see their score and box in faces.csv, or take --faces largest."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    add_photos(parser)
    parser.add_argument("out", type=str, help="folder for the embeddings")
    parser.add_argument("--model", type=str, default="default", help=MODEL_HELP)
    parser.add_argument("--faces", type=Choice, default="all", help="which face, where a photo has several")
    parser.add_argument("--flip", type=bool, default=True, help="add the mirror image")
    add_finder_options(parser)
    add_model_options(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.recognition.embed_folder import embed_photos

    done = embed_photos(
        open_photos(options),
        Path(options.out),
        load_model(options),
        open_finder(options),
        faces=options.faces,
        flip=options.flip,
        workers=options.workers,
        only=wanted_people(options),
        resume=options.resume,
    )
    print(*done.lines(), options.out, sep="\n")
