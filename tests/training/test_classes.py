"""Whose the class centres are stays with the run: RUN/classes has names and centres, RUN/model neither."""

from dataclasses import replace
from pathlib import Path

import pytest
import small_run
import torch

from elasticface.base.errors import InputError
from elasticface.data import open_dataset
from elasticface.training import classes
from elasticface.training.loop import train
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("classes") / "run"
    centres: list[torch.Tensor] = []

    def keep(state: TrainState, run: RunFolder) -> None:
        centres[:] = [state.head.weight.detach().clone()]

    train(people, run, replace(small_run.SMALL, max_steps=2), [keep])
    torch.save(centres[0], run.parent / "centres.pt")
    return run


def test_a_finished_run_has_the_names_and_the_centres(run: Path, people: Path) -> None:
    identities, centres = classes.read(run / "classes")
    assert identities.names == tuple(open_dataset(people).class_names)
    assert torch.equal(centres, torch.load(run.parent / "centres.pt", weights_only=True))


def test_what_is_passed_on_names_nobody(run: Path) -> None:
    content = b"".join(path.read_bytes() for path in (run / "model").iterdir())
    assert b"person_" not in content
    assert b"head." not in content  # as tensors of the head are called
    assert b"person_" in (run / "classes" / "identities.json").read_bytes()


def test_damaged_classes_are_refused(run: Path) -> None:
    (part,) = (run / "classes").glob("centres-*")
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    with pytest.raises(InputError, match="classes: damaged"):
        classes.read(run / "classes")
    part.unlink()
    with pytest.raises(InputError, match="classes: damaged"):
        classes.read(run / "classes")
    part.write_bytes(content)
