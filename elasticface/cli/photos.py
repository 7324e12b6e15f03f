"""What the commands that look for faces in photos share: their options, and what comes of them."""

from typing import TYPE_CHECKING, Literal

from jsonargparse import Namespace

from elasticface.cli.parser import Parser

if TYPE_CHECKING:
    from elasticface.data.images.photos import Photos
    from elasticface.faces.finder import FaceFinder


def add_photos(parser: Parser) -> None:
    """A set of photos, which of its people are meant, and how the work on them is done."""
    parser.add_argument("photos", type=str, help="folder or uncompressed tar of photos")
    parser.add_argument(
        "--identities", type=str | None, default=None, help="text file of the people to take, one a line"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run has made, and add the rest")


def open_photos(options: Namespace) -> "Photos":
    """The photos that are given; of files and folders there that are not taken for any, it says which."""
    from elasticface.base import progress
    from elasticface.data.images.photos import Photos
    from elasticface.faces.examples import with_examples

    photos = Photos(options.photos)
    for line in with_examples("left out", [f"{name}: {why}" for name, why in photos.passed_over().items()]):
        progress.say(line)
    return photos


def add_face_choice(parser: Parser) -> None:
    """Which face of a photo is compared."""
    parser.add_argument(
        "--faces", type=Literal["largest", "central"], default="largest", help="which face, where a photo has several"
    )


def add_finder_options(parser: Parser) -> None:
    """What looks for faces, and for which."""
    parser.add_argument(
        "--detector",
        type=str | None,
        default=None,
        help="yunet, insightface or uniface (if installed), or an .onnx (default: yunet)",
    )
    parser.add_argument(
        "--smallest",
        type=int | None,
        default=None,
        help="width in pixels of the smallest face looked for (default: 20)",
    )


def open_finder(options: Namespace) -> "FaceFinder":
    """What the options of :func:`add_finder_options` name.

    Raises:
        InputError: no such detector, or a size out of range.
    """
    from elasticface.faces.finder import SMALLEST, FaceFinder
    from elasticface.faces.installed import open_detector

    detector = open_detector("yunet" if options.detector is None else options.detector)
    return FaceFinder(detector, SMALLEST if options.smallest is None else options.smallest)


def wanted_people(options: Namespace) -> set[str] | None:
    """The people that ``--identities`` names; None for all.

    Raises:
        InputError: the file cannot be read, or names no one.
    """
    from elasticface.data.images.photos import read_identities

    return read_identities(options.identities) if options.identities else None
