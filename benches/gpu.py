"""What a GPU machine is tried with, in one command of at most eight minutes: is it right there, and how fast?

Run it as ``python benches/gpu.py``; ``--device cpu --small`` tries the program itself. Every part is stored as soon as
it is done, with its error if it fails, so that a machine that is lent for minutes leaves as much as it could.
"""

import dataclasses
import hashlib
import itertools
import json
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import head as head_bench
import numpy as np
import torch
from common import RESULTS, console, markdown, rounded, run, save, spread
from training import Faces, PlainLoop

from elasticface import heads
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train

OUT = RESULTS / "gpu.json"
MOST_SECONDS = 480
SHAPES = ((512, 512, 10_572), (512, 512, 85_742), (1024, 512, 360_232), (1024, 512, 2_059_906))
SMALL_SHAPES = ((64, 64, 5_000),)
ROUNDS = 5

Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where it is tried, and at which size."""

    device: torch.device
    small: bool

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def start_peak(self) -> None:
        """Count the device's memory from here."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int | None:
        """Bytes of the device at most since then."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


def bench(device: str = "cuda", small: bool = False, out: Path = OUT) -> None:
    """Try everything that depends on the device, and store it.

    Args:
        device: cuda, or cpu to try this program.
        small: small nets and few classes.
        out: JSON file for the figures; replaced if it is there.
    """
    machine = Machine(torch.device(device), small)
    start = time.perf_counter()
    found: Figures = {"device": _name(machine.device), "small": small}
    parts: list[Callable[[Machine], Figures]] = [equality, resume, fp16, head_speed, waits, training_speed]
    for part in parts:
        name = part.__name__
        if time.perf_counter() - start > MOST_SECONDS:
            found[name] = {"left out": f"{MOST_SECONDS} s were over"}
            continue
        began = time.perf_counter()
        try:
            found[name] = part(machine)
        except Exception as error:  # the next part is to be tried all the same
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        found[name]["seconds_taken"] = round(time.perf_counter() - began, 1)
        save(out, found)
    console.print(table(found))


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


# ---------------------------------------------------------------------------------------------- is it right?


def equality(machine: Machine) -> Figures:
    """Loss and gradients of every head on the device and on the CPU: the largest differences, relative."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(64, 128, generator=generator)
    labels = torch.randint(1000, (64,), generator=generator)
    found: Figures = {}
    for loss in heads.LOSSES:
        results = []
        for device in (torch.device("cpu"), machine.device):
            head = heads.create(loss, 1000, 128, seed=0)
            torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
            head.to(device)
            inputs = embeddings.to(device).requires_grad_()
            value = head(inputs, labels.to(device))
            value.backward()
            assert inputs.grad is not None
            results.append((value.detach().cpu(), inputs.grad.cpu(), _dense(head.weight.grad).cpu()))
        found[loss] = [
            float((ours - theirs).abs().max() / theirs.abs().max()) for theirs, ours in zip(*results, strict=True)
        ]
    return {"loss, gradient of embeddings, of centres": found}


def _dense(gradient: torch.Tensor | None) -> torch.Tensor:
    assert gradient is not None
    return gradient.to_dense() if gradient.is_sparse else gradient


def resume(machine: Machine) -> Figures:
    """Whether a run that was stopped and resumed ends with the bits of an unbroken one, and two alike with the same."""
    source = Faces(256, 16)
    config = _config(machine, batch_size=32, max_steps=8, checkpoint_every="4", augment=0.5)
    with tempfile.TemporaryDirectory() as folder:
        whole, again, broken = (Path(folder, name) for name in ("whole", "again", "broken"))
        for path in (whole, again):
            train(source, path, config)
        train(source, broken, dataclasses.replace(config, max_steps=4))
        train(source, broken, config, resume=True, schedule_changed=True)
        digests = [_digest(path / "model/model.safetensors") for path in (whole, again, broken)]
    return {"the same run twice": digests[0] == digests[1], "stopped and resumed": digests[0] == digests[2]}


def fp16(machine: Machine) -> Figures:
    """Losses of the first and the last of 20 steps in fp16 with its scaler, and the steps that it skipped."""
    if machine.device.type != "cuda":
        return {"left out": "the CPU has none"}
    config = _config(machine, batch_size=32, max_steps=20, precision="fp16", log_every=1, max_skipped=20)
    lines = _log_of(machine, config)
    skipped = lines[-1].get("skipped_steps", 0)
    return {"first loss": lines[0]["loss"], "last loss": lines[-1]["loss"], "skipped": skipped}


# ---------------------------------------------------------------------------------------------- how fast is it?


def head_speed(machine: Machine) -> Figures:
    """Seconds and memory of a head's forward and backward, beside the longhand formula and the bare products."""
    found: Figures = {}
    for batch, size, classes in SMALL_SHAPES if machine.small else SHAPES:
        shape = head_bench.Shape(batch, size, classes)
        inputs = [tensor.detach().to(machine.device) for tensor in shape.inputs()]
        embeddings, weight, labels = inputs[0].requires_grad_(), torch.nn.Parameter(inputs[1]), inputs[2]
        seconds: dict[str, list[float]] = {}
        peaks: dict[str, int | None] = {}
        ways = head_bench.VARIANTS | (head_bench.ON_GPU if machine.device.type == "cuda" else {})
        for name, variant in ways.items():
            try:
                step = variant(embeddings, weight, labels)
                machine.start_peak()
                seconds[name] = [_timed(step, machine) for _ in range(ROUNDS + 1)][1:]
                peaks[name] = machine.peak()
            except torch.OutOfMemoryError:
                seconds.pop(name, None)
            embeddings.grad = weight.grad = None
        found[str(shape)] = {"seconds": seconds, "peak": peaks}
    return found


def waits(machine: Machine) -> Figures:
    """How often the host waits for the device in a step that logs nothing."""
    if machine.device.type != "cuda":
        return {"left out": "only CUDA tells"}
    steps = 20
    counts: list[int] = []
    caught: list[Any] = []

    def count(state: Any, _: Any) -> None:
        counts.append(len(caught))

    config = _config(machine, batch_size=64, max_steps=steps, log_every=1000, checkpoint_every="1000")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *arguments, **_: caught.append(str(arguments[0]))
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with tempfile.TemporaryDirectory() as folder:
                train(Faces(2048, 64), Path(folder, "run"), config, [count])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    each = [after - before for before, after in itertools.pairwise(counts[2:-1])]
    return {"a step": each}


def training_speed(machine: Machine) -> Figures:
    """Images a second of `train`, and of a plain loop of the same net and batch, eager and compiled."""
    backbone, batch = ("tiny", 32) if machine.small else ("iresnet100", 256)
    steps = 12 if machine.small else 30
    precision = "32" if machine.device.type == "cpu" else "bf16"
    config = _config(machine, backbone=backbone, batch_size=batch, max_steps=steps, precision=precision, log_every=3)
    source = Faces(batch * 4, 85_742 if not machine.small else 1000)
    found: Figures = {"backbone": backbone, "batch": batch, "precision": precision}
    for name, compiled in (("train", False), ("train, compiled", True)):
        lines = _log_of(machine, dataclasses.replace(config, compile=compiled), source)
        found[name] = [line["images_per_second"] for line in lines][1:]
    found["plain loop"] = list(_plain(machine, config, source, compiled=False))
    found["plain loop, compiled"] = list(_plain(machine, config, source, compiled=True))
    return found


def _plain(machine: Machine, config: TrainConfig, source: Faces, compiled: bool) -> Iterator[float]:
    """Images a second in each of some rounds of a plain loop, its data in the device's memory."""
    loop = PlainLoop(config, source, compiled, machine.device)
    for number in range(ROUNDS + 2):
        seconds = sum(_timed(loop.step, machine) for _ in range(3))
        if number > 1:
            yield 3 * config.batch_size / seconds


# ---------------------------------------------------------------------------------------------- what they share


def _config(machine: Machine, **settings: Any) -> TrainConfig:
    chosen = {"backbone": "tiny" if machine.small else "iresnet18", "epochs": 1000, "workers": 0, "log_every": 10}
    return TrainConfig(**{**chosen, "device": machine.device.type, "embedding_size": 512, **settings})


def _log_of(machine: Machine, config: TrainConfig, source: Faces | None = None) -> list[Figures]:
    with tempfile.TemporaryDirectory() as folder:
        train(source or Faces(256, 16), Path(folder, "run"), config)
        text = Path(folder, "run", "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if "images_per_second" in line]


def _timed(step: Callable[[], object], machine: Machine) -> float:
    machine.wait()
    start = time.perf_counter()
    step()
    machine.wait()
    return time.perf_counter() - start


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table(found: Figures) -> str:
    """As Markdown, what there is of each part."""
    rows = []
    for name, part in found.items():
        if isinstance(part, dict):
            rows += [[name.replace("_", " "), key, _told(value)] for key, value in part.items()]
    return f"{markdown(['part', 'what', 'found'], rows, texts=3)}\n\n{found['device']}."


def _told(value: Any) -> str:
    if isinstance(value, dict) and "seconds" in value:
        bare = value["seconds"].get("products")
        of = {name: f"{spread(each)} s" for name, each in value["seconds"].items()}
        ratio = (
            ""
            if bare is None
            else "; over those of the products: "
            + ", ".join(
                f"{way} {rounded(float(np.median(each) / np.median(bare)))}"
                for way, each in value["seconds"].items()
                if way != "products"
            )
        )
        return ", ".join(f"{name} {each}" for name, each in of.items()) + ratio
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_told(each)}" for name, each in value.items())
    if isinstance(value, list) and value and all(isinstance(each, int | float) for each in value):
        return spread(value) if len(value) > 3 else ", ".join(f"{each:.2g}" for each in value)
    return rounded(value) if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run(bench)
