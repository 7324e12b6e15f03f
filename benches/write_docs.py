"""docs/performance.md, made of what the programs beside this one have stored: ``python benches/write_docs.py``."""

import json
from pathlib import Path

import backbones
import benchmarks
import data
import head
import reading
import synthetic
from common import RESULTS, machine

from elasticface.files import write_text

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

TEXT = """# Performance

Made by `benches/write_docs.py` from the results that the programs in `benches/` stored. Timings on shared machines are
noisy: ratios are taken within a round of one process, alternating; given are the median and the range.

## Heads

`python benches/head.py`: ElasticFace-Arc forward and backward, exact softmax over all classes. "longhand" is the
formula as it is written, under autograd; "bare products" are the three matrix products that no exact softmax can do
without, so their speed-up is the most that any implementation could reach.

{head}

## Backbones

`python benches/backbones.py`: images per second in batches of {batch}, {size}-d; median and range, {machine}.

{backbones}

## Figures of the large benchmarks

`python benches/benchmarks.py`: from embeddings to figures, on synthetic numbers in the benchmarks' shape. "longhand"
is the protocol as it reads, in NumPy: a loop over templates, pairs gathered by 100,000, one sort. "bare product" is
that of all probes with all distractors, chunk by chunk, its result thrown away.

{benchmarks}

## Reading benchmarks

`python benches/reading.py`: IJB-C's list of pairs beside pandas, as the scripts in use read it, and a pack through the
smallest network, where decoding counts most.

{reading}

## Reading training images

`python benches/data.py`: what a core reads from each format beside the bare decoding of the same bytes, and what is left
of it when worker processes hand batches over.

{data}

## Synthetic faces

`python benches/synthetic.py`: rendering in one thread of one process.

{synthetic}
"""


def main() -> None:
    names = "head.json", "backbones.json", "benchmarks.json", "reading.json", "synthetic.json"
    heads, nets, figures, files, faces = (json.loads((RESULTS / name).read_text("utf-8")) for name in names)
    page = TEXT.format(
        head=head.table(heads),
        backbones=backbones.table(nets),
        batch=nets["batch"],
        size=nets["embedding_size"],
        machine=machine(nets["environment"]),
        benchmarks=benchmarks.tables(figures),
        reading=reading.tables(files),
        synthetic=synthetic.table(faces),
    )
    write_text(PAGE, page)


if __name__ == "__main__":
    main()
