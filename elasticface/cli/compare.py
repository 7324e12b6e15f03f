"""`elasticface compare`: its options and what it does."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.cli.parser import Parser

HELP = "results -> which model is ahead, and is it chance"

DESCRIPTION = """Which model is ahead on the same pairs and searches, by how much, and is it more than chance?

RESULTS are folders that evaluate has written, of run folders too: two or more, or one with several models. For every
benchmark and every two models A and B: the figures of both (of pairs accuracy, TAR at FAR and equal error rate; those
of IJB and MegaFace), A − B with its 95 % interval, and the p-value of there being no difference. Both come from a
bootstrap over people, with the same resamples for both models, in which the thresholds of TAR and TPIR are found again;
a pack does not say who is on its images, so images stand for people there, or pairs, and then McNemar's exact test
stands beside. Results on other pairs are refused. p-values are of one comparison each: with twenty of them, one of .05
is nothing.

Over those of LFW, AgeDB-30, CALFW, CPLFW and CFP-FP that all models with results on pairs have, the Borda count of
accuracies, by which the ElasticFace paper chooses its parameters.
With --out, OUT/comparison.json has all figures, and OUT/report.html shows all models on all benchmarks, beside what the
paper publishes where a benchmark is called lfw, agedb_30, calfw, cplfw, cfp_fp, IJB-B, IJB-C or MegaFace.
After evaluate of two models, each with an --out of its own: elasticface compare results/arc+ results/arc --out both"""

_MOST_DRAWS = 100_000


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("results", type=str, nargs="+", help="folders with results.json")
    parser.add_argument("--out", type=str | None, default=None, help="folder for comparison.json and report.html")
    parser.add_argument(
        "--draws", type=int, default=2000, help="how often people are drawn, on pairs; IJB and MegaFace: 2000"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws")


def run(options: Namespace) -> None:
    """Compare, print, and write what there is to be written."""
    if not 100 <= options.draws <= _MOST_DRAWS:
        raise InputError(f"--draws must be 100 to {_MOST_DRAWS:,}, not {options.draws}")
    if not 0 <= options.seed < 1 << 63:
        raise InputError(f"--seed must be 0 or more, not {options.seed}")
    if options.out:
        files.check_writable(Path(options.out))
    from rich.console import Console

    from elasticface.base import progress
    from elasticface.base.version import __version__
    from elasticface.report.comparison import compare, read_folders
    from elasticface.report.files import COMPARISON, REPORT, check_report, comparison_json
    from elasticface.report.page import write_report
    from elasticface.report.terminal import comparison_notes, comparison_tables

    if options.out:
        check_report(Path(options.out), COMPARISON)
    results, versions = read_folders(options.results)
    comparison = compare(results, options.draws, options.seed)
    Console().print(*comparison_tables(comparison), sep="\n")
    print(
        "In % and percentage points, with 95 % intervals; bold where that of A − B leaves 0 out. p: paired bootstrap."
    )
    for note in comparison_notes(comparison):
        progress.say(f"note: {note}")
    if options.out:
        out = Path(options.out)
        files.write_json(out / COMPARISON, comparison_json(comparison))
        environment = {"versions": {"elasticface": __version__}, "measured with": versions}
        write_report(out / REPORT, results, environment, None, comparison=comparison)
        print(f"{out / COMPARISON}\n{out / REPORT}")
