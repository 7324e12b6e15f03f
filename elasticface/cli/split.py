"""`elasticface split`: hold people out."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.base.values import read
from elasticface.cli.parser import Parser

HELP = "hold people out, with pairs to verify on"

DESCRIPTION = """Hold people out of a folder of identity folders, to judge a model on faces it has not seen.

OUT/train gets the images to train on, OUT/heldout those of the people held out, with a pairs.txt of ten folds.
--people all makes pairs of a folder of people to test on: OUT/heldout alone. What `align` wrote of the detector in
FACES is kept in both, for `calibrate`."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("faces", type=str, help="folder of identity folders")
    parser.add_argument("out", type=str, help="folder for train/ and heldout/")
    parser.add_argument("--people", type=str, required=True, help="how many people to hold out, or all")
    parser.add_argument("--pairs", type=int, default=6000, help="how many pairs, half of them genuine")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.data.prepare.split import split
    from elasticface.faces import aligned

    people = None if options.people == "all" else read(options.people, int, "--people")
    out = Path(options.out)
    aligned_as = aligned.read(Path(options.faces))
    summary = split(options.faces, out, people=people, pairs=options.pairs, seed=options.seed)
    if aligned_as is not None:  # what found the faces, which a calibration on them asks for; not what became of each
        for part in filter(Path.is_dir, (out / "train", out / "heldout")):
            aligned.write(part, aligned.Summary(aligned_as.size, aligned_as.format, detector=aligned_as.detector))
    print("\n".join(summary.lines()))
