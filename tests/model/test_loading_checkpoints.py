"""load: a checkpoint of a run as a model, and a run that has no model yet."""

import errno
import io
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import torch
from embedders import faces, refused

from elasticface.model import checkpoint_folder
from elasticface.model.checkpoint_folder import METADATA, Validation, add_validation, path_of, write_checksums
from elasticface.model.checkpoint_weights import read_tensors
from elasticface.model.encoder import FaceEncoder
from elasticface.model.loading import load
from elasticface.training.loop import train
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

TINY = replace(small_run.SMALL, backbone="tiny")  # its model folders are loaded without its name
STEPS = 6
Embedded = dict[int, Any]


@pytest.fixture(scope="module")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Embedded]:
    """A run of six steps, and what it embedded after each."""
    run = tmp_path_factory.mktemp("trained") / "run"
    config = replace(TINY, max_steps=STEPS, epochs=4, checkpoint_every="2", keep_checkpoints=9)
    embedded: Embedded = {}

    def embed(state: TrainState, run: RunFolder) -> None:
        embedded[state.step] = run.encoder(state).embed(faces(2, 112))

    train(people, run, config, [embed])
    for step, accuracy in ((2, 0.6), (3, 0.9), (4, 0.9)):
        add_validation(path_of(run / "checkpoints", step), Validation("faces", accuracy))
    return run, embedded


@pytest.fixture
def run(trained: tuple[Path, Embedded], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


@pytest.mark.parametrize(("which", "step"), [(2, 2), ("4", 4), ("last", STEPS), ("best", 3)])
def test_a_checkpoint_is_the_model_as_it_was_then(which: str | int, step: int, trained: tuple[Path, Embedded]) -> None:
    run, embedded = trained
    encoder = load(run, checkpoint=which)
    assert np.array_equal(encoder.embed(faces(2, 112)), embedded[step])
    final = load(run).card
    assert encoder.card == replace(final, name=f"run step {step}")


def test_of_a_run_that_keeps_an_average_that_is_the_model_and_the_start(people: Path, tmp_path: Path) -> None:
    config = replace(TINY, max_steps=4, ema=0.5)
    final = train(people, tmp_path / "run", config)
    found = load(tmp_path / "run", checkpoint="last")
    assert np.array_equal(found.embed(faces(2, 112)), final.embed(faces(2, 112)))
    started: list[Any] = []

    def look(state: TrainState, run: RunFolder) -> None:
        started.append([value.clone() for value in state.backbone.parameters()])

    frozen = replace(config, ema=None, max_steps=1, init=str(tmp_path / "run"), freeze_backbone_epochs=1)
    train(people, tmp_path / "next", frozen, [look])
    assert isinstance(final.network, torch.nn.Module)
    assert all(torch.equal(a, b) for a, b in zip(started[0], final.network.parameters(), strict=True))


def test_a_checkpoint_needs_no_final_model_and_is_saved_as_one(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "model")
    encoder = load(run, checkpoint=4)
    encoder.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").embed(faces(2, 112)), encoder.embed(faces(2, 112)))


def test_a_run_without_a_model_says_how_to_use_its_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "model")
    assert "not finished" in refused(run)
    assert "--checkpoint last or best" in refused(run)
    shutil.rmtree(run / "checkpoints")
    assert "--checkpoint" not in refused(run)
    assert "--resume" in refused(run)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        (5, "no checkpoint of step 5; there are those of steps 6, 4, 3, 2"),
        ("9" * 5000, "must be best, last or a step"),
        ("newest", "must be best, last or a step, not 'newest'"),
        (-1, "must be best, last or a step"),
        ("../2", "must be best, last or a step"),
        ("", "must be best, last or a step"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_refused(which: str | int, told: str, run: Path) -> None:
    assert told in refused(run, checkpoint=which)


def test_what_has_no_checkpoints_is_refused(run: Path, tmp_path: Path) -> None:
    assert "no run with checkpoints" in refused(run / "model", checkpoint="last")
    assert "no run with checkpoints" in refused(tmp_path / "absent.pth", checkpoint="last")
    assert "leave the other options out" in refused(run, checkpoint="last", backbone="tiny")
    for step in (2, 3, 4):
        (path_of(run / "checkpoints", step) / "validation.json").unlink()
    assert "none of its checkpoints was validated; use last" in refused(run, checkpoint="best")


def damaged(path: Path) -> None:
    part = next(path.glob("__0_*"))
    part.write_bytes(part.read_bytes()[:-1])


def test_a_damaged_checkpoint_is_refused_and_last_goes_back_with_a_warning(run: Path) -> None:
    for step in (3, STEPS):
        damaged(path_of(run / "checkpoints", step))
    for which in (STEPS, "best"):
        assert "use another checkpoint" in refused(run, checkpoint=which)
    with pytest.warns(UserWarning, match="going back"):
        assert load(run, checkpoint="last").card.name == "run step 4"
    for step in (2, 4):
        damaged(path_of(run / "checkpoints", step))
    with pytest.warns(UserWarning, match="going back"):
        assert "all its checkpoints are damaged" in refused(run, checkpoint="last")


def test_a_checkpoint_of_an_older_version_is_refused(run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    (path / "model.json").unlink()
    (path / "checksums.json").unlink()
    write_checksums(path, {}, {})
    assert "an older version's checkpoint" in refused(run, checkpoint=4)


def ran(marker: str) -> None:
    Path(marker).touch()


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return ran, (self.marker,)


def test_metadata_that_would_run_code_are_refused_and_run_nothing(run: Path, tmp_path: Path) -> None:
    path, marker = path_of(run / "checkpoints", 4), tmp_path / "ran"
    (path / METADATA).write_bytes(pickle.dumps(Evil(marker)))
    (path / "checksums.json").unlink()
    write_checksums(path, {}, {})
    assert ".metadata cannot be read" in refused(run, checkpoint=4)
    assert not marker.exists()


def rewritten(path: Path, metadata: bytes) -> None:
    (path / METADATA).write_bytes(metadata)
    (path / "checksums.json").unlink()
    write_checksums(path, {}, {})


def test_metadata_that_change_a_class_are_refused_and_change_nothing(run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    name = type(Path()).__name__.encode()
    # PosixPath.is_dir = torch.Size, by the state of slots
    rewritten(path, b"cpathlib\n%b\n(N}S'is_dir'\nctorch\nSize\nstb." % name)
    before = type(Path()).is_dir
    assert ".metadata cannot be read" in refused(run, checkpoint=4)
    assert type(Path()).is_dir is before


def test_metadata_that_name_files_elsewhere_are_refused(run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    metadata = pickle.loads((path / METADATA).read_bytes())
    for stored in metadata.storage_data.values():
        shutil.copy(path / stored.relative_path, run / "elsewhere")
        stored.relative_path = "../../elsewhere"
    rewritten(path, pickle.dumps(metadata))
    assert ".metadata cannot be read" in refused(run, checkpoint=4)


def test_a_part_that_unpacks_to_more_than_it_takes_is_refused(run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    metadata = pickle.loads((path / METADATA).read_bytes())
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1 << 24))
    (path / "bomb").write_bytes(content.getvalue())
    for stored in metadata.storage_data.values():
        stored.relative_path, stored.offset, stored.length = "bomb", 0, len(content.getvalue())
    rewritten(path, pickle.dumps(metadata))
    assert "cannot be read; use another checkpoint" in refused(run, checkpoint=4)


@pytest.mark.parametrize(
    "name", ["../x", "a\0b", "\ud800", "pipe", "\x1b[2J"], ids=["elsewhere", "NUL", "surrogate", "a pipe", "control"]
)
def test_checksums_of_strange_names_are_damage_in_one_line(name: str, run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    os.mkfifo(path / "pipe")
    checksums = json.loads((path / "checksums.json").read_text())
    (path / "checksums.json").write_text(json.dumps({name: "0" * 64, **checksums}))
    told = refused(run, checkpoint=4)
    assert "use another checkpoint" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("file", ["checksums.json", "validation.json"])
def test_nested_or_huge_json_is_damage(file: str, run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    for content in ("[" * 100_000, f'{{"benchmark": "a", "accuracy": {"9" * 400}}}'):
        (path / file).write_text(content)
        if file == "checksums.json":
            assert "checksums.json is damaged" in refused(run, checkpoint=4)
        else:
            assert checkpoint_folder.validation_of(path) is None


def test_a_checkpoint_that_cannot_be_read_now_is_not_taken_for_damaged(run: Path) -> None:
    def stale(path: Path) -> str:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_folder, "sha256", stale)
        with pytest.raises(OSError, match="Stale"):
            checkpoint_folder.newest_whole(run / "checkpoints", pytest.fail)


def test_metadata_that_ask_for_more_than_there_is_are_refused(run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    metadata = pickle.loads((path / METADATA).read_bytes())
    metadata.state_dict_metadata["state.backbone.fc.weight"].size = torch.Size([1 << 40, 16])
    (path / METADATA).write_bytes(pickle.dumps(metadata))
    (path / "checksums.json").unlink()
    write_checksums(path, {}, {})
    assert "asks for more bytes than it has" in refused(run, checkpoint=4)


def test_a_part_that_holds_no_tensors_is_refused_in_one_line(run: Path) -> None:
    path = path_of(run / "checkpoints", 4)
    part = next(path.glob("__0_*"))
    part.write_bytes(bytes(part.stat().st_size))
    (path / "checksums.json").unlink()
    write_checksums(path, {}, {})
    assert "cannot be read; use another checkpoint" in refused(run, checkpoint=4)


def test_tensors_are_read_by_the_beginning_of_their_names(trained: tuple[Path, Embedded]) -> None:
    path = path_of(trained[0] / "checkpoints", 4)
    assert isinstance(load(trained[0], checkpoint=4), FaceEncoder)
    assert read_tensors(path, "head.")["weight"].shape == (6, 16)
    assert read_tensors(path, "nothing.") == {}
