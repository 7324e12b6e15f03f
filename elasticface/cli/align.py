"""`elasticface align`: photos with landmarks onto the template."""

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, add_photos, open_finder, wanted_people
from elasticface.faces.choice import Choice

HELP = "photos -> aligned faces"

DESCRIPTION = """Warp photos onto the 112x112 template that face recognition models expect.

PHOTOS is a folder or an uncompressed tar; the face of each photo becomes OUT/<its name>. Faces are looked for, and kept
in OUT/faces.csv, unless --landmarks names a file that `elasticface detect` has written, or a CSV with the header
file,score,x_leye,y_leye,x_reye,y_reye,x_nose,y_nose,x_lmouth,y_lmouth,x_rmouth,y_rmouth (left as seen in the upright
picture)."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    add_photos(parser)
    parser.add_argument("out", type=str, help="folder for the aligned faces")
    parser.add_argument("--landmarks", type=str | None, default=None, help="CSV of five points a face")
    parser.add_argument("--faces", type=Choice, default="largest", help="which of a photo's faces")
    parser.add_argument("--sheet", type=str | None, default=None, help="PNG to look at, doubtful faces first")
    parser.add_argument("--size", type=int, default=112, help="side in pixels")
    parser.add_argument("--format", type=Literal["jpg", "png"], default="jpg", help="JPEG of quality 95, or PNG")
    add_finder_options(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.base import files
    from elasticface.data.images.photos import Photos
    from elasticface.faces.align_folder import FACES, align_photos
    from elasticface.faces.landmarks import read_faces
    from elasticface.faces.sheet import write_sheet

    photos, out = Photos(options.photos), Path(options.out)
    if options.sheet:
        files.check_writable(Path(options.sheet))
    found = read_faces(options.landmarks) if options.landmarks else None
    summary = align_photos(
        photos,
        out,
        found,
        size=options.size,
        format=options.format,
        workers=options.workers,
        only=wanted_people(options),
        resume=options.resume,
        faces=options.faces,
        finder=None if options.landmarks else open_finder(options),
    )
    print("\n".join(summary.lines()))
    if options.sheet:
        write_sheet(Path(options.sheet), photos, found or read_faces(out / FACES), options.faces)
        print(options.sheet)
