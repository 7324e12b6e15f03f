"""A run begins with a backbone that was trained before: `init` names a model folder, a run or public weights."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from elasticface.base import own_parts, progress, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.distributed.agreement import run_in_all, run_in_first
from elasticface.model import Preprocessing, checkpoint_folder, load, weights
from elasticface.model.checkpoint_weights import read_tensors
from elasticface.model.shipped import located
from elasticface.training import classes
from elasticface.training.config import TrainConfig, read_config
from elasticface.training.identities import Identities, take_centres
from elasticface.training.run_files import CHECKPOINTS, CLASSES, CONFIG, MODEL
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState


def start_from_init(state: TrainState, run: RunFolder) -> None:
    """Give a run that begins the backbone of `init`; of a run also the class centres of people who are in both.

    Without `init` all stays as it was drawn. Collective.

    Raises:
        InputError: nothing there, or a backbone that does not fit: a layer is named with both shapes.
    """
    config = run.config
    if config.init is None:
        return
    path = located(config.init)
    checkpoint = run_in_first(lambda: _checkpoint_of(path))
    taken = run_in_all(lambda: _start_from(path, checkpoint, state, run))
    named = run.identities.names
    centres = f", {taken:,} of {len(named):,} class centres by their names" if taken else ""
    progress.say(f"the backbone starts from {printable(checkpoint or path)}{centres}")


def _checkpoint_of(run: Path) -> Path | None:
    """The best checkpoint of a run, or the last one that is whole; None where there is none, or no run."""
    folder = run / CHECKPOINTS
    best = checkpoint_folder.best(folder)
    if best is None:
        return checkpoint_folder.newest_whole(folder, progress.say)
    problem = checkpoint_folder.damage(best)
    if problem is None:
        return best
    progress.say(f"{best}: {problem}; taking the last checkpoint, not this best one")
    return checkpoint_folder.newest_whole(folder, progress.say)


def _start_from(path: Path, checkpoint: Path | None, state: TrainState, run: RunFolder) -> int:
    """Fill the backbone, and the centres. Returns how many of all classes have a centre of the other run."""
    config = run.config
    if checkpoint is None:
        tensors, told = _model(path, config)
    else:  # the moving average, where that run kept one
        tensors = read_tensors(checkpoint, "average.") or read_tensors(checkpoint, "backbone.")
        told = read_config(path / CONFIG) if (path / CONFIG).is_file() else {}
    wanted = f"{config.backbone} of size {config.embedding_size}"
    try:
        fitted = weights.fitted(tensors, state.backbone, checkpoint or path, wanted)
    except InputError as error:
        raise InputError(f"{error}{_options_for(told, config)}") from None
    state.backbone.load_state_dict(fitted)
    if checkpoint is not None:
        there, centres = Identities.of_checkpoint(checkpoint), read_tensors(checkpoint, "head.")["weight"]
    elif (path / MODEL).is_dir() and (path / CLASSES).is_dir():
        there, centres = classes.read(path / CLASSES)
    else:
        return 0
    return take_centres(state, run.identities, there, centres)


def _options_for(told: Mapping[str, Any], config: TrainConfig) -> str:
    """The options that a run lacks to begin with the network that a model tells of, for the end of a message."""
    own = {name: told.get(name) for name in ("backbone", "embedding_size")}
    lacking = [f"--{name.replace('_', '-')} {own[name]}" for name in own if own[name] not in (None, vars(config)[name])]
    return f"; give {printable(' '.join(lacking), 120)}" if lacking else ""


def _model(path: Path, config: TrainConfig) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The weights of a model that takes what training gives, and what its card tells."""
    if path.is_file() and weights.suffix_of(path) is not None:
        encoder = load(path, config.backbone, embedding_size=config.embedding_size)
    else:  # a model folder may only name a backbone of the user's own
        encoder = load(path, config.backbone if own_parts.is_reference(config.backbone) else None)
    if not isinstance(encoder.network, nn.Module):
        raise InputError(f"{printable(path)}: an .onnx cannot be trained; give a model folder, a run or weights")
    differences = records.changes(asdict(Preprocessing()), asdict(encoder.card.preprocessing))
    if differences:
        raise InputError(
            f"{printable(path)}: takes images that training does not give: {', '.join(differences)}; "
            "start from a model of the usual input"
        )
    return encoder.network.state_dict(), vars(encoder.card)
