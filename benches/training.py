"""`elasticface train` beside a plain PyTorch loop of the same net, batch and data in memory, eager and compiled.

Run it as ``python benches/training.py``; ``--help`` lists the options. It takes both cores: run nothing beside it.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, console, markdown, printed, rounded, run, save, spread, stored

from elasticface import backbones, heads
from elasticface.training import checkpoint
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.processes import World
from elasticface.training.state import TrainState

OUT = RESULTS / "training.json"
NETS = {"tiny": 64, "mobilefacenet": 32}  # images of a batch
IDENTITIES = 1000
SKIPPED, STEPS = 2, 8  # steps of a round that are not timed, and that are
COLUMNS = [
    "net",
    "plain loop",
    "plain loop, compiled",
    "train",
    "train --compile",
    "train / plain loop",
    "compiled / not",
]


class Faces:
    """Noise for faces, in memory."""

    def __init__(self, images: int, identities: int) -> None:
        rng = np.random.default_rng(0)
        self._pixels = rng.integers(0, 256, (min(images, 512), 112, 112, 3), np.uint8)
        self.labels = np.arange(images, dtype=np.int64) * identities // images
        self.num_classes = identities
        self.class_names = [f"{number}" for number in range(identities)]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._pixels[index % len(self._pixels)], int(self.labels[index])


def bench(rounds: int = 7, out: Path = OUT, markdown: bool = False) -> None:
    """Images a second of each way to train, alternating, and how long a checkpoint keeps a step waiting.

    Args:
        rounds: of each; the first is not counted.
        out: JSON file for every round; replaced if it is there.
        markdown: measure nothing, print the tables of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    speeds: dict[str, dict[str, list[float]]] = {}
    for net, batch in NETS.items():
        ways = ways_to_train(net, batch)
        for number in range(rounds + 1):
            for name, once in ways.items():
                with console.status(f"{net}, {name}, round {number} of {rounds}"):
                    found = once()
                if number:
                    speeds.setdefault(net, {}).setdefault(name, []).append(found)
    kept = save(out, {"batches": NETS, "images_per_second": speeds, "checkpoints": [saved() for _ in range(rounds)]})
    console.print(printed(COLUMNS, rows(kept)))
    console.print(checkpoint_sentence(kept))


def ways_to_train(net: str, batch: int) -> dict[str, Callable[[], float]]:
    """By name what trains for a round and tells its images a second."""
    source = Faces(batch * 64, IDENTITIES)  # no end of an epoch, with its checkpoint, comes among the timed steps
    settings: dict[str, Any] = {"backbone": net, "batch_size": batch, "loss": "elastic-arc+", "device": "cpu"}
    config = TrainConfig(**settings, epochs=1000, max_steps=SKIPPED + STEPS + 1, workers=0, checkpoint_every="1000")
    plain = [PlainLoop(config, source, compiled) for compiled in (False, True)]
    return {
        "plain loop": plain[0].round,
        "train": lambda: of_train(config, source),
        "plain loop, compiled": plain[1].round,
        "train --compile": lambda: of_train(TrainConfig(**{**vars(config), "compile": True}), source),
    }


def of_train(config: TrainConfig, source: Faces) -> float:
    """Images a second of a run, between two of its steps."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        train(source, Path(folder, "run"), config, [lambda *_: times.append(time.perf_counter())])
    return STEPS * config.batch_size / (times[SKIPPED + STEPS - 1] - times[SKIPPED - 1])


@dataclass
class PlainLoop:
    """A loop without anything around it: its batch lies on the device, as the network takes it."""

    config: TrainConfig
    source: Faces
    compiled: bool
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        config, source = self.config, self.source
        torch.manual_seed(0)
        self.network = backbones.create(config.backbone, config.embedding_size)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = heads.create(config.loss, source.num_classes, config.embedding_size).to(self.device)
        parameters = [*self.network.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(
            parameters, config.lr, config.momentum, weight_decay=config.weight_decay, fused=True
        )
        pixels = np.stack([source[index][0] for index in range(config.batch_size)])
        images = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.from_numpy(source.labels[: config.batch_size]).to(self.device)
        self.forward = torch.compile(self.network) if self.compiled else self.network
        self.half = torch.bfloat16 if config.precision == "bf16" else torch.float32

    def step(self) -> None:
        with torch.autocast(self.device.type, self.half, self.config.precision == "bf16"):
            embeddings = self.forward(self.images)
        self.head(embeddings.float(), self.labels).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def round(self) -> float:
        """Images a second of some steps."""
        for _ in range(SKIPPED):
            self.step()
        began = time.perf_counter()
        for _ in range(STEPS):
            self.step()
        return STEPS * self.config.batch_size / (time.perf_counter() - began)


def saved() -> dict[str, float]:
    """Seconds that a step waits for a checkpoint, and that its writing takes; bytes of it."""
    config = TrainConfig(loss="cosface", backbone="mobilefacenet", device="cpu")
    state, memory = TrainState.create(config, Faces(1000, 50_000), World(torch.device("cpu"))), checkpoint.memory()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.start(Path(folder), state, 1, 1, copied_to=memory).finish()  # the first one makes the pages
        began = time.perf_counter()
        writing = checkpoint.start(Path(folder), state, 2, 1, copied_to=memory)
        waited = time.perf_counter() - began
        path = writing.finish()
        seconds = time.perf_counter() - began
        size = sum(file.stat().st_size for file in path.iterdir())
    return {"waited": waited, "seconds": seconds, "bytes": size}


def rows(kept: dict[str, Any]) -> list[list[str]]:
    """Of the table: images a second, and ratios within a round."""
    found = []
    for net, speeds in kept["images_per_second"].items():
        ways = [spread(speeds[way]) for way in COLUMNS[1:5]]
        pairs = (("train", "plain loop"), ("train --compile", "train"))
        ratios = [[a / b for a, b in zip(speeds[one], speeds[other], strict=True)] for one, other in pairs]
        found.append([f"`{net}`, batches of {kept['batches'][net]}", *ways, *map(spread, ratios)])
    return found


def checkpoint_sentence(kept: dict[str, Any]) -> str:
    """What a checkpoint costs."""
    shares = [each["waited"] / each["seconds"] for each in kept["checkpoints"]]
    size, seconds = kept["checkpoints"][0]["bytes"] / 1e6, spread([each["seconds"] for each in kept["checkpoints"]])
    return (
        f"A checkpoint of {rounded(size)} MB is written in {seconds} s; training waits for {spread(shares)} of that, "
        "while it is copied."
    )


def table(kept: dict[str, Any]) -> str:
    """As Markdown: images a second, median and range."""
    return f"{markdown(COLUMNS, rows(kept))}\n\n{checkpoint_sentence(kept)}"


if __name__ == "__main__":
    run(bench)
