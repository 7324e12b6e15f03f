"""`elasticface align`: photos with landmarks onto the template."""

import os
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, add_photos, open_finder, open_photos, wanted_people
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
    parser.add_argument("--faces", type=Choice, default="largest", help="which face, where a photo has several")
    parser.add_argument("--sheet", type=str | None, default=None, help="PNG to look at, doubtful faces first")
    parser.add_argument("--size", type=int, default=112, help="side in pixels")
    parser.add_argument("--format", type=Literal["jpg", "png"], default="jpg", help="JPEG of quality 95, or PNG")
    add_finder_options(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.base import files
    from elasticface.base.errors import InputError
    from elasticface.faces.align_folder import FACES, align_photos
    from elasticface.faces.landmarks import read_faces
    from elasticface.faces.sheet import write_sheet

    if options.landmarks and (options.detector is not None or options.smallest is not None):
        raise InputError("--landmarks says where the faces are; leave out --detector and --smallest, or --landmarks")
    photos, out, only = open_photos(options), Path(options.out), wanted_people(options)
    sheet = Path(options.sheet) if options.sheet else None
    if sheet:
        if sheet.suffix.lower() != ".png":
            raise InputError(f"--sheet {files.printable(sheet)}: a PNG is written; give a name that ends in .png")
        if Path(os.path.realpath(sheet)).is_relative_to(os.path.realpath(out)):
            raise InputError(f"--sheet {files.printable(sheet)}: lies among the aligned faces; give a name elsewhere")
        files.check_writable(sheet.parent, sheet.name)
    found = read_faces(options.landmarks) if options.landmarks else None
    summary = align_photos(
        photos,
        out,
        found,
        size=options.size,
        format=options.format,
        workers=options.workers,
        only=only,
        resume=options.resume,
        faces=options.faces,
        finder=open_finder(options) if found is None else None,
    )
    print("\n".join(summary.lines()))
    if sheet:
        write_sheet(sheet, photos, read_faces(out / FACES) if found is None else found, options.faces, only)
        print(options.sheet)
