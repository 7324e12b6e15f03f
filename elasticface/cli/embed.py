"""`elasticface embed`: the embeddings of the faces in a folder of photos."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.cli.parser import Parser
from elasticface.faces.choice import Choice

HELP = "photos -> embeddings of the faces in them"

DESCRIPTION = """Find the faces in photos and write their embeddings.

PHOTOS is a folder or an uncompressed tar of photos as a camera makes them. OUT/embeddings.npy has a row of length 1 a
face, OUT/faces.csv says in the same order which photo each face is from, where it is and its score, and OUT/embed.json
names the photos without a face. The similarity of two faces is the inner product of their rows."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("photos", type=str, help="folder or uncompressed tar of photos")
    parser.add_argument("out", type=str, help="folder for the embeddings")
    parser.add_argument("--model", type=str, default="default", help="run folder, model folder or .onnx")
    parser.add_argument("--faces", type=Choice, default="all", help="which of a photo's faces")
    parser.add_argument("--flip", type=bool, default=True, help="add the mirror image")
    parser.add_argument(
        "--detector", type=str, default="yunet", help="yunet, insightface or uniface (if installed), or an .onnx"
    )
    parser.add_argument("--device", type=str, default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=2, help="processes that look for faces")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run has made")


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.data.images.photos import Photos
    from elasticface.faces.finder import FaceFinder
    from elasticface.faces.installed import open_detector
    from elasticface.model.loading import load
    from elasticface.recognition.embed_folder import embed_photos

    done = embed_photos(
        Photos(options.photos),
        Path(options.out),
        load(options.model, device=options.device),
        FaceFinder(open_detector(options.detector)),
        faces=options.faces,
        flip=options.flip,
        workers=options.workers,
        resume=options.resume,
    )
    print(*done.lines(), options.out, sep="\n")
