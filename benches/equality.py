"""The same loss on one process and on many: how far loss and gradients of the sharded head are from one process's.

Run it as ``python benches/equality.py``; ``--help`` lists the options.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, console, machine, markdown, printed, run, save, stored

from elasticface.base.errors import InputError
from elasticface.heads.head import LOSSES

# The longhand formulas, and what the processes are asked, are those of the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
import on_processes
import sharded_heads
from sharded_heads import Case

OUT = RESULTS / "equality.json"
DTYPES = "float32", "float64"
WHAT = "loss", "embeddings", "weight"


def bench(
    batch: int = 64,
    size: int = 512,
    classes: int = 1003,
    steps: int = 4,
    processes: str = "2,3",
    out: Path = OUT,
    markdown: bool = False,
) -> None:
    """Compare the loss and both gradients of every head over several processes with one process, and with longhand.

    A difference is |a − b| / |b|, of all numbers together: of the loss, of the gradient by the embeddings of all
    processes, of that by all class centres. Given is the largest over the steps. Longhand is the formulas as they are
    printed, in float64, under autograd.

    Args:
        batch: images of all processes together, unevenly shared out.
        size: of an embedding.
        classes: unevenly shared out, too.
        steps: batches, each with draws of its own.
        processes: how many, with commas between them.
        out: JSON file for every difference; replaced if it is there.
        markdown: compute nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    counts = [int(text) for text in processes.split(",") if text.isdecimal() and 1 < int(text) <= batch]
    if len(counts) != len(processes.split(",")):
        raise InputError(f"--processes: {processes!r} are not numbers from 2 to the batch of {batch} like 2,3")
    results = []
    for count in counts:
        shares = uneven(batch, count)
        cases = [Case(loss, shares, dtype, classes, size, steps) for loss, dtype in itertools.product(LOSSES, DTYPES)]
        with console.status(f"{count} processes"):
            found = on_processes.run(sharded_heads.some_cases, count, sharded_heads.as_plain(cases))
        for number, case in enumerate(cases):
            with console.status(f"{count} processes: {case.loss} in {case.dtype} on one"):
                many = [
                    sharded_heads.joined(list(parts)) for parts in zip(*(own[number] for own in found), strict=True)
                ]
                one, longhand = sharded_heads.on_one(case), sharded_heads.by_longhand(case)
            results.append(
                {"loss": case.loss, "dtype": case.dtype, "processes": count}
                | {"one process": largest(many, one), "longhand": largest(many, longhand)}
            )
    shape = {"batch": batch, "size": size, "classes": classes, "steps": steps}
    kept = save(out, {"shape": shape, "results": results})
    console.print(printed(columns(kept), rows(kept), texts=3))


def uneven(batch: int, processes: int) -> tuple[int, ...]:
    """Shares of a batch as after damaged images: the later, the larger."""
    ends = [batch * n * (n + 1) // (processes * (processes + 1)) for n in range(processes + 1)]
    return tuple(end - start for start, end in itertools.pairwise(ends))


def largest(many: list[dict[str, Any]], others: list[dict[str, Any]]) -> dict[str, float]:
    """By what is compared, the largest relative difference of all steps."""
    return {what: max(relative(a[what], b[what]) for a, b in zip(many, others, strict=True)) for what in WHAT}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def columns(figures: dict[str, Any]) -> list[str]:
    counts = sorted({result["processes"] for result in figures["results"]})
    return ["loss", "type", "against", *(f"N = {n}: {what}" for n in counts for what in ("loss", "∂e", "∂W"))]


def rows(figures: dict[str, Any]) -> list[list[str]]:
    cells = []
    for loss, dtype, against in itertools.product(LOSSES, DTYPES, ("one process", "longhand")):
        found = [r for r in figures["results"] if (r["loss"], r["dtype"]) == (loss, dtype)]
        if found:
            cells.append([loss, dtype, against, *(short(r[against][what]) for r in found for what in WHAT)])
    return cells


def short(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    shape = "{batch} embeddings, {size}-d, {classes:,} classes, {steps} steps".format(**figures["shape"])
    text = (
        "Largest relative differences, |a − b| / |b|: of the loss, of its gradient by the embeddings and of that by "
        f"the class centres. {shape}; uneven shares of both. Longhand is in float64. {machine(figures['environment'])}."
    )
    return f"{markdown(columns(figures), rows(figures), texts=3)}\n\n{text}"


if __name__ == "__main__":
    run(bench)
