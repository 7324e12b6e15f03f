"""Settings of a run that takes seconds on a CPU, and what every run must do."""

from dataclasses import replace
from pathlib import Path

from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics

SMALL = TrainConfig(
    loss="arcface",
    scale=16.0,
    backbone="own_parts:shrunk",
    embedding_size=16,
    batch_size=8,
    lr=0.05,
    workers=0,
    device="cpu",
    log_every=1,
)


def assert_learns_and_resumes(people: Path, out: Path, config: TrainConfig) -> None:
    """A run of 12 steps that is stopped after 5 has the losses of an unbroken one, and they fall."""
    train(people, out / "unbroken", config)
    for steps in (5, 12):
        train(people, out / "run", replace(config, max_steps=steps), resume=True)
    found = [line["loss"] for line in read_metrics(out / "run")]
    assert found == [line["loss"] for line in read_metrics(out / "unbroken")]
    assert found[-1] < found[0]
