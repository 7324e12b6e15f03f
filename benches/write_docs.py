"""What the programs beside this one have stored, as pages of the docs: ``python benches/write_docs.py``.

docs/performance.md is made as a whole; of docs/scaling.md, docs/training.md, docs/export.md, docs/faces.md,
docs/gallery.md, docs/service.md and docs/paper.md what is between markers.
"""

import sys
from pathlib import Path

import backbones
import benchmarks
import data
import equality
import export
import faults
import gallery
import gallery_crashes
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
import service_hostile
import synthetic
import training
from common import RESULTS, machine, run, stored

from elasticface.base.files import write_text

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

TEXT = """# Performance

Time and memory of everything that was measured; [figures](figures.md#benches) names the program of each table. Timings
on shared machines are noisy: ratios are taken between alternating runs within a round, in one process; tables give the
median and the range over the rounds.

## Heads

`python benches/head.py`: ElasticFace-Arc forward and backward, exact softmax over all classes. "longhand" is the
formula as written, under autograd; "bare products" are the three matrix products that every exact softmax needs, so
their speed-up is an upper bound for any implementation.

{head}
{processes}
## Backbones

`python benches/backbones.py`: images per second in batches of {batch}, {size}-d; median and range, {machine}.

{backbones}

## Figures of the large benchmarks

`python benches/benchmarks.py`: from embeddings to figures, on synthetic numbers in the benchmarks' shape. "longhand"
is the protocol written directly in NumPy: a loop over templates, pairs in chunks of 100,000, one sort. "bare product"
is the matrix product of all probes with all distractors, chunk by chunk, without using its result.

{benchmarks}

`python benches/large.py FOLDER`: all that `elasticface evaluate features BENCHMARK` does, from files of the full size:
lists read and checked, 1:1 and 1:N, 2,000 bootstrap resamples with their thresholds, ROC and CMC, hardest trials.

{large}

## Training

`python benches/training.py`: images per second of `elasticface train` and of a plain PyTorch loop with one preprocessed
batch in memory, alternating. Both [keep the memory that they free](training.md#at-the-machines-speed); a loop that
doesn't is slower.

{training}

## Reading benchmarks

`python benches/reading.py`: a pack evaluated with the smallest network, where decoding matters most.

{reading}

{data}## Synthetic faces

`python benches/synthetic.py`: rendering in one thread of one process.

{synthetic}

## A gallery of a million faces

`python benches/gallery.py --dimensions 256`: synthetic unit vectors around a centre for each person, in the embedded
database; one client searches sequentially. Recall: how often the search by the index and the exact search name the same
person first.

{gallery}

## On a GPU

`python benches/gpu.py`: every head on CUDA compared with the CPU, speed of head and training, waits of the host, fp16
and resuming, in one command of eight minutes.

{gpu}
"""


PROCESSES = """
### Over several processes

`python benches/head.py --processes 2 --shapes 512x512x85742,128x512x1000000`: the class centres of ElasticFace-Arc
divided among processes, compared with one process with as many threads in all.

{table}
"""

READING = """## Reading training images

`python benches/data.py`: how fast a core reads each format, compared with the bare decoding of the same bytes, and what
remains of it when worker processes send batches.

{table}

"""

SCALING, TRAINING, EXPORT, FACES, GALLERY, SERVICE, PAPER = (
    PAGE.with_name(f"{name}.md") for name in ("scaling", "training", "export", "faces", "gallery", "service", "paper")
)


def filled(path: Path, texts: dict[str, str]) -> str:
    """The page with each text between the markers of its name."""
    page = path.read_text("utf-8")
    for name, text in texts.items():
        page = between(page, name, text)
    return page


def between(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between its markers of that name."""
    start, end = f"<!-- {name}: made by benches/write_docs.py -->", f"<!-- end of {name} -->"
    before, there, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not there or not closed:
        raise ValueError(f"the markers of {name} are missing")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def pages() -> dict[Path, str]:
    """Each page as the stored results have it."""
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
        gallery=gallery.table(stored(gallery.OUT)),
        training=training.table(stored(training.OUT)),
        gpu=gpu.table(stored(gpu.OUT)) if gpu.OUT.exists() else "Not run on a GPU yet.",
    )
    parts = {program.OUT.stem: program.table(stored(program.OUT)) for program in (equality, million, processes)}
    hostile = service_hostile.sentence(stored(service_hostile.OUT))
    crashes = gallery_crashes.table(stored(gallery_crashes.KILLS), stored(gallery_crashes.FULL))
    return {
        PAGE: page,
        SCALING: filled(SCALING, parts | plan.parts(stored(plan.OUT))),
        TRAINING: filled(TRAINING, {"faults": faults.table()}),
        EXPORT: filled(EXPORT, {"export": export.table(stored(export.OUT))}),
        FACES: filled(FACES, {"photos": photos.table(stored(photos.OUT))}),
        GALLERY: filled(GALLERY, {"crashes": crashes}),
        PAPER: filled(PAPER, {"paper": plan.paper()}),
        SERVICE: filled(SERVICE, {"service": service.table(stored(service.OUT)), "hostile": hostile}),
    }


def main(check: bool = False) -> None:
    """Write the pages.

    Args:
        check: write nothing, and end with 1 if a page is not as the stored results have it.
    """
    others = {path: text for path, text in pages().items() if path.read_text("utf-8") != text}
    if not check:
        for path, text in others.items():
            write_text(path, text)
    elif others:
        names = ", ".join(path.name for path in others)
        sys.exit(f"{names}: not as the stored results have it; run python benches/write_docs.py")


if __name__ == "__main__":
    run(main)
