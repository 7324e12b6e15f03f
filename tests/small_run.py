"""Settings of a run that takes seconds on a CPU."""

from elasticface.training.config import TrainConfig

SMALL = TrainConfig(
    loss="arcface",
    scale=16.0,
    backbone="tiny",
    embedding_size=16,
    batch_size=8,
    lr=0.05,
    workers=0,
    device="cpu",
    log_every=1,
)
