"""`elasticface align`: photos with landmarks onto the template."""

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from elasticface.cli.parser import Parser

HELP = "photos + landmarks -> aligned faces"

DESCRIPTION = """Warp photos onto the 112x112 template that face recognition models expect.

PHOTOS is a folder or an uncompressed tar; each photo with five points in FILE.csv becomes OUT/<its name>. The CSV has
the header file,score,x_leye,y_leye,x_reye,y_reye,x_nose,y_nose,x_lmouth,y_lmouth,x_rmouth,y_rmouth."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("photos", type=str, help="folder or uncompressed tar of photos")
    parser.add_argument("out", type=str, help="folder for the aligned faces")
    parser.add_argument("--landmarks", type=str, required=True, help="CSV of five points a photo")
    parser.add_argument(
        "--identities", type=str | None, default=None, help="text file of the people to take, one a line"
    )
    parser.add_argument("--size", type=int, default=112, help="side in pixels")
    parser.add_argument("--format", type=Literal["jpg", "png"], default="jpg", help="JPEG of quality 95, or PNG")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--resume", action="store_true", help="keep what is in OUT and add what is missing")


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.data.images.photos import Photos
    from elasticface.faces.align_folder import align_photos, read_identities
    from elasticface.faces.landmarks import read_landmarks

    summary = align_photos(
        Photos(options.photos),
        Path(options.out),
        read_landmarks(options.landmarks),
        size=options.size,
        format=options.format,
        workers=options.workers,
        only=read_identities(Path(options.identities)) if options.identities else None,
        resume=options.resume,
    )
    print("\n".join(summary.lines()))
