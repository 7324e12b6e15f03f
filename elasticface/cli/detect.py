"""`elasticface detect`: the faces in a folder of photos, as a CSV file."""

from jsonargparse import Namespace

from elasticface.cli.parser import Parser

HELP = "photos -> a CSV file of the faces in them"

DESCRIPTION = """Find the faces in photos: five points, a box and a score each.

PHOTOS is a folder or an uncompressed tar. OUT.csv has a line a face, a photo's faces largest first and numbered from 1;
a photo without a face has a line with its name and empty fields. `elasticface align --landmarks OUT.csv` takes it. The
detector is YuNet, which comes with the package; photos may be turned by 90, 180 or 270 degrees."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("photos", type=str, help="folder or uncompressed tar of photos")
    parser.add_argument("out", type=str, help="CSV file to write")
    parser.add_argument(
        "--identities", type=str | None, default=None, help="text file of the people to take, one a line"
    )
    parser.add_argument("--smallest", type=int, default=20, help="width in pixels of the smallest face looked for")
    parser.add_argument(
        "--detector", type=str, default="yunet", help="yunet, insightface or uniface (if installed), or an .onnx"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run has found")


def run(options: Namespace) -> None:
    """Do it, and say what was found."""
    from elasticface.data.images.photos import Photos
    from elasticface.faces.align_folder import read_identities
    from elasticface.faces.detect_folder import detect_photos
    from elasticface.faces.finder import FaceFinder
    from elasticface.faces.installed import open_detector

    found = detect_photos(
        Photos(options.photos),
        options.out,
        FaceFinder(open_detector(options.detector), options.smallest),
        workers=options.workers,
        only=read_identities(options.identities) if options.identities else None,
        resume=options.resume,
    )
    print(*found.lines(), options.out, sep="\n")
