"""`elasticface pack`: a benchmark into one file."""

from pathlib import Path

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.benchmarks.enrolment import Undetected
from elasticface.cli.parser import Parser
from elasticface.data.sources import LARGEST_SIDE

HELP = "a benchmark -> one .bin file"

DESCRIPTION = """Put a benchmark's pairs and aligned faces into one .bin, as the field passes benchmarks on.

DIR is a benchmark of pairs as evaluate takes it: a folder or an uncompressed tar with pairs.txt, or with CALFW's or
CPLFW's own list; CFP's own folder (OUT.bin is then called cfp_fp.bin or cfp_ff.bin); or another pack. Aligned JPEG and
PNG files go in as they are; photos with landmarks are aligned and stored as PNG. A model has the very same figures on
the pack as on DIR.

A pack holds images alone: it cannot say that a pair counts as a non-match since a photo of it has no face. With such
photos, or damaged ones, give --undetected skip, which leaves their pairs out, or centre, which takes the central square
of a photo without a face. With reject, which evaluate has by default, they are refused."""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("dir", type=str, help="folder or tar with a list of pairs, CFP's folder, or a pack")
    parser.add_argument("out", type=str, help="the pack, a file that ends in .bin")
    parser.add_argument("--pairs", type=str | None, default=None, help="list of pairs, where it is not in DIR")
    parser.add_argument("--landmarks", type=str | None, default=None, help="CSV of five points a photo, likewise")
    parser.add_argument(
        "--undetected", type=Undetected, default="reject", help="photos without a face, and damaged ones"
    )
    parser.add_argument("--size", type=int, default=112, help="side of the faces in pixels")
    parser.add_argument("--overwrite", action="store_true", help="take the place of a file that is there")


def run(options: Namespace) -> None:
    """Do it, and say what was made."""
    from elasticface.benchmarks.opening import open_benchmark
    from elasticface.benchmarks.pairwise.lists import PairBenchmark
    from elasticface.benchmarks.pairwise.packing import check_out, choose, pack

    out = Path(options.out)
    check_out(out, options.overwrite)
    files.check_writable(out.parent, out.name)
    if not 1 <= options.size <= LARGEST_SIDE:
        raise InputError(f"--size must be 1 to {LARGEST_SIDE}, not {options.size}")
    found = open_benchmark(options.dir, options.pairs, options.landmarks, undetected=options.undetected)
    lists = [benchmark for benchmark in found if isinstance(benchmark, PairBenchmark)]
    if not lists:
        raise InputError(f"{options.dir}: {found[0].name} is no list of pairs of photos; a pack holds nothing else")
    benchmark = choose(lists, out)
    print("\n".join(pack(benchmark, out, options.size, options.overwrite).lines()))
