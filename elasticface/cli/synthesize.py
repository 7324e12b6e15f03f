"""`elasticface synthesize`: render faces."""

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.cli.parser import Parser

HELP = "rendered faces of people who never lived, for training or tests"

DESCRIPTION = """Render faces of people who never lived: to train on, to judge on, or to study what losses make of them.

OUT/person-000012/0003.jpg is an aligned 112x112 photo, OUT/metadata.csv says what is in every photo (pose, light,
expression, what covers the face), OUT/synthetic.json what it was made with. A photo depends on the seed, the person's
number and its own number, and on nothing else: the same command gives the same bytes on any number of processes, and
--first 500 after 500 identities gives other people. The same command resumes what was stopped.
--heterogeneity is σ of how unequally people vary: 0, all alike; 0.5, most from 0.4 to 2 times the average.
To train on such faces without a folder: elasticface train synthetic:identities=500,images=16 --out RUN"""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("out", type=str | None, nargs="?", default=None, help="folder for the faces")
    parser.add_argument("--identities", type=int | None, default=None, help="how many people")
    parser.add_argument("--images-per-identity", type=int | None, default=None, help="photos of each")
    parser.add_argument("--heterogeneity", type=float, default=0.5, help="how unequally much people vary, 0 to 2")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--first", type=int, default=0, help="number of the first person")
    parser.add_argument(
        "--appearance",
        type=Literal["varying", "frozen", "redrawn"],
        default="varying",
        help="hair, glasses, beard, make-up: varying around a person's habits, frozen, or redrawn for every photo",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--preview", type=str | None, default=None, help="PNG of what such faces look like")


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.data.synthetic.scene import Variation
    from elasticface.data.synthetic.source import check_set

    if options.out is None and options.preview is None:
        raise InputError("synthesize needs OUT, a folder for the faces, or --preview FILE.png, or both")
    variation = Variation(options.heterogeneity, options.appearance)
    if options.preview is not None:
        check_set(1, 1, options.seed, variation, options.first)
        _check_preview(Path(options.preview))
    if options.out is not None:
        if options.identities is None or options.images_per_identity is None:
            raise InputError("synthesize OUT needs --identities and --images-per-identity")
        files.check_writable(Path(options.out))
        from elasticface.data.synthetic.write import write_faces

        summary = write_faces(
            Path(options.out),
            identities=options.identities,
            images_per_identity=options.images_per_identity,
            seed=options.seed,
            variation=variation,
            first=options.first,
            workers=options.workers,
        )
        print("\n".join(summary.lines()))
    if options.preview is not None:
        from elasticface.data.synthetic.preview import write_preview

        for path in write_preview(Path(options.preview), options.seed, variation, options.first):
            print(path)


def _check_preview(path: Path) -> None:
    if path.suffix.lower() not in (".png", ".jpg") or path.is_dir():
        raise InputError(f"--preview {path}: not the name of a picture; give a file that ends in .png or .jpg")
    files.check_writable(path.parent, path.name)
