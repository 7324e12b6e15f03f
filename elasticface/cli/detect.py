"""`elasticface detect`: the faces in a folder of photos, as a CSV file."""

from jsonargparse import Namespace

from elasticface.cli.parser import Parser
from elasticface.cli.photos import add_finder_options, add_photos, open_finder, open_photos, wanted_people

HELP = "photos -> a CSV file of the faces in them"

DESCRIPTION = """Find the faces in photos: five points, a box and a score each.

PHOTOS is a folder or an uncompressed tar. OUT.csv has a line a face, a photo's faces largest first and numbered from 1;
a photo without a face has a line with its name and empty fields, and one that cannot be read also the reason, in the
last field. `elasticface align --landmarks OUT.csv` takes it. The detector is YuNet, which comes with the package;
photos may be turned by 90, 180 or 270 degrees."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    add_photos(parser)
    parser.add_argument("out", type=str, help="CSV file to write")
    add_finder_options(parser)


def run(options: Namespace) -> None:
    """Do it, and say what was found."""
    from elasticface.faces.detect_folder import detect_photos

    found = detect_photos(
        open_photos(options),
        options.out,
        open_finder(options),
        workers=options.workers,
        only=wanted_people(options),
        resume=options.resume,
    )
    print(*found.lines(), options.out, sep="\n")
