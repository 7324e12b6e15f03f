"""`elasticface convert`: its options and what it does."""

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.cli.parser import Parser
from elasticface.data.sources import LARGEST_SIDE

HELP = "a folder, RecordIO, shards -> another of them"

DESCRIPTION = """One format of training faces -> another: a folder of identity folders, RecordIO, or shards.

SRC is whatever train takes: a folder <identity>/<image>, a folder with train.rec and train.idx, a folder or pattern of
.tar shards, or synthetic:… DST gets
  folder    <identity>/<image>.jpg, to look into, to sort out, to split;
  recordio  train.rec, train.idx and property, as MXNet's and InsightFace's tools read them: three files for millions of
            images, the quickest to read in any order;
  shards    shard-000000.tar … of <key>.jpg and <key>.cls, as WebDataset reads them, in a drawn order: for disks and
            buckets that are slow with single images.
JPEG, PNG and WebP of 112x112 are carried over byte for byte; other images are resized where need be and stored as PNG.
Labels stay as they are, but a folder cannot hold identities without images: there, the labels after these move up.
Damaged images are left out, counted and named in DST/bad_items.jsonl.
At the end every image is read back, and labels and pixels are compared with SRC's by a checksum; only then is there a
DST. A conversion that was stopped is resumed by --resume. Faces that are not aligned yet go through align first.
For example: elasticface convert faces_emore ms1mv2 --to shards"""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("src", type=str, help="the set to read")
    parser.add_argument("dst", type=str, help="the set to make")
    parser.add_argument("--to", type=Literal["folder", "recordio", "shards"], required=True, help="its format")
    parser.add_argument("--size", type=int, default=112, help="side of the images in pixels")
    parser.add_argument("--per-shard", type=int, default=10_000, help="shards: images in each, at most")
    parser.add_argument("--seed", type=int, default=0, help="shards: of the order of the images")
    parser.add_argument("--resume", action="store_true", help="resume a conversion that was stopped")


def run(options: Namespace) -> None:
    """Convert, and say what was made."""
    if not 1 <= options.size <= LARGEST_SIDE:
        raise InputError(f"--size must be 1 to {LARGEST_SIDE}, not {options.size}")
    if not 1 <= options.per_shard <= 10_000_000:
        raise InputError(f"--per-shard must be 1 to 10,000,000, not {options.per_shard}")
    if not 0 <= options.seed < 1 << 63:
        raise InputError(f"--seed must be 0 or more, not {options.seed}")
    files.check_writable(Path(options.dst).parent)
    from elasticface.data.prepare.convert import convert

    summary = convert(
        options.src,
        Path(options.dst),
        options.to,
        size=options.size,
        per_shard=options.per_shard,
        seed=options.seed,
        resume=options.resume,
    )
    print("\n".join(summary.lines()))
