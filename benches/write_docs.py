"""What the programs beside this one have stored, as pages of the docs: ``python benches/write_docs.py``.

docs/performance.md is made as a whole, of docs/scaling.md, docs/training.md, docs/export.md and docs/faces.md
what is between markers.
"""

from pathlib import Path

import backbones
import benchmarks
import data
import equality
import export
import faults
import gallery
import gpu
import head
import head_processes
import large
import million
import photos
import plan
import processes
import reading
import service
import synthetic
import training
from common import RESULTS, machine, stored

from elasticface.base.files import write_text

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

TEXT = """# Performance

Made by `benches/write_docs.py` from the results that the programs in `benches/` stored. Timings on shared machines are
noisy: ratios are taken within a round of one process, alternating; given are the median and the range.

## Heads

`python benches/head.py`: ElasticFace-Arc forward and backward, exact softmax over all classes. "longhand" is the
formula as it is written, under autograd; "bare products" are the three matrix products that no exact softmax can do
without, so their speed-up is the most that any implementation could reach.

{head}
{processes}
## Backbones

`python benches/backbones.py`: images per second in batches of {batch}, {size}-d; median and range, {machine}.

{backbones}

## Figures of the large benchmarks

`python benches/benchmarks.py`: from embeddings to figures, on synthetic numbers in the benchmarks' shape. "longhand"
is the protocol as it reads, in NumPy: a loop over templates, pairs gathered by 100,000, one sort. "bare product" is
that of all probes with all distractors, chunk by chunk, its result thrown away.

{benchmarks}

`python benches/large.py FOLDER`: the same and what else `elasticface evaluate features BENCHMARK` does, from files of
the full size: lists read and checked, 1:N, 2,000 draws of people with their thresholds, ROC and CMC, hardest trials.

{large}

## Training

`python benches/training.py`: `elasticface train` beside a plain loop of PyTorch that has one batch in memory, as the
network takes it, alternating; images a second. Both keep the memory that they free, as a training does
([training](training.md#at-the-machines-speed)); a loop that doesn't is slower.

{training}

## Reading benchmarks

`python benches/reading.py`: a pack through the smallest network, where decoding counts most.

{reading}

{data}## Synthetic faces

`python benches/synthetic.py`: rendering in one thread of one process.

{synthetic}

## A gallery of a million faces

`python benches/gallery.py --dimensions 256`: made-up unit vectors around a centre for each person, in the embedded
database; searches one after the other, of one client. Recall against brute force: how often both searches name the
same person first.

{gallery}

## On a GPU

`python benches/gpu.py`: every head on CUDA beside the CPU, speed of head and training, waits of the host, fp16 and
resuming, in one command of eight minutes.

{gpu}
"""


PROCESSES = """
### Over several processes

`python benches/head.py --processes 2 --shapes 512x512x85742,128x512x1000000`: the class centres of ElasticFace-Arc
shared out over processes, beside one process with as many threads in all.

{table}
"""

READING = """## Reading training images

`python benches/data.py`: what a core reads from each format beside the bare decoding of the same bytes, and what is
left of it when worker processes hand batches over.

{table}

"""

SCALING, TRAINING, EXPORT, FACES, SERVICE = (
    PAGE.with_name(f"{name}.md") for name in ("scaling", "training", "export", "faces", "service")
)


def fill(path: Path, texts: dict[str, str]) -> None:
    """Put each text between the markers of its name."""
    page = path.read_text("utf-8")
    for name, text in texts.items():
        page = between(page, name, text)
    write_text(path, page)


def between(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between its markers of that name."""
    start, end = f"<!-- {name}: made by benches/write_docs.py -->", f"<!-- end of {name} -->"
    before, there, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not there or not closed:
        raise ValueError(f"the markers of {name} are missing")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def main() -> None:
    names = "head.json", "backbones.json", "benchmarks.json", "reading.json", "synthetic.json"
    heads, nets, figures, files, faces = (stored(RESULTS / name) for name in names)
    page = TEXT.format(
        head=head.table(heads),
        processes=PROCESSES.format(table=head_processes.table(stored(head_processes.OUT))),
        backbones=backbones.table(nets),
        batch=nets["batch"],
        size=nets["embedding_size"],
        machine=machine(nets["environment"]),
        benchmarks=benchmarks.tables(figures),
        large=large.table(stored(large.OUT)),
        reading=reading.table(files),
        data=READING.format(table=data.table(stored(data.OUT))),
        synthetic=synthetic.table(faces),
        gallery=gallery.table(stored(gallery.OUT)) if gallery.OUT.exists() else "Not run to its end yet.",
        training=training.table(stored(training.OUT)),
        gpu=gpu.table(stored(gpu.OUT)) if gpu.OUT.exists() else "Not run on a GPU yet.",
    )
    write_text(PAGE, page)
    parts = {"equality": equality.table(stored(equality.OUT))}
    for program in (million, processes):
        if program.OUT.exists():
            parts[program.OUT.stem] = program.table(stored(program.OUT))
    fill(SCALING, parts | plan.parts(stored(plan.OUT)))
    fill(TRAINING, {"faults": faults.table()})
    fill(EXPORT, {"export": export.table(stored(export.OUT))})
    fill(FACES, {"photos": photos.table(stored(photos.OUT))})
    if service.OUT.exists():
        fill(SERVICE, {"service": service.table(stored(service.OUT))})


if __name__ == "__main__":
    main()
