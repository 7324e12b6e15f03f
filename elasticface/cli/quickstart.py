"""`elasticface quickstart`: the whole way on rendered faces."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.cli.parser import Parser

HELP = "rendered faces -> a trained model and a report"

DESCRIPTION = """Train and judge a model on faces that are rendered on the spot: no data and no settings needed.

OUT gets people to train on and others to judge on, the run, results.json and report.html. The same command
resumes it when it was stopped."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("--out", type=str, default="quickstart", help="folder for everything")
    parser.add_argument("--small", action="store_true", help="fewer people and epochs: about a minute")
    parser.add_argument("--seed", type=int, default=0, help="of the people, the pairs and the training")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    files.check_writable(Path(options.out))
    from elasticface.quickstart import FULL, SMALL, quickstart

    size = SMALL if options.small else FULL
    outcome = quickstart(Path(options.out), size, seed=options.seed, workers=options.workers)
    print("\n".join(outcome.lines()))
