"""The compiled backbone: it resumes bit for bit, computes what the network computes, and says why it cannot."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import small_run
import torch
from conftest import write_people
from safetensors.torch import load_file
from torch._inductor import config as inductor

from elasticface.base.errors import InputError, Stopped
from elasticface.training.compiling import CompiledNetwork
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics
from elasticface.training.state import TrainState

COMPILED = replace(
    small_run.SMALL, backbone="own_parts:pooled", dropout=0.2, compile=True, max_steps=5, epochs=4, checkpoint_every="2"
)


needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler, and there is none"
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("compiled") / "run"
    train(people, run, COMPILED)
    return run


@needs_compiler
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(run: Path, people: Path, tmp_path: Path) -> None:
    def stop(state: TrainState, _: object) -> None:
        if state.step == 3:
            raise Stopped("enough")

    with pytest.raises(Stopped, match="enough"):
        train(people, tmp_path / "run", COMPILED, [stop])
    torch.compiler.reset()  # as in a new process
    train(people, tmp_path / "run", COMPILED, resume=True)
    stopped, unbroken = weights(tmp_path / "run"), weights(run)
    assert stopped.keys() == unbroken.keys()
    assert all(torch.equal(stopped[name], unbroken[name]) for name in stopped)


@needs_compiler
def test_it_computes_what_the_network_computes(people: Path, tmp_path: Path) -> None:
    """Dropout aside, which a compiled network draws in its own way."""
    for compiled in (False, True):
        train(people, tmp_path / f"{compiled}", replace(COMPILED, dropout=None, compile=compiled))
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("False", "True")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@needs_compiler
def test_a_batch_without_its_damaged_images_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = write_people(tmp_path / "faces", 4, 5)
    next(faces.rglob("*.png")).write_bytes(b"no image")
    shapes: list[torch.Size] = []

    def noted(self: CompiledNetwork, images: torch.Tensor) -> torch.Tensor:
        shapes.append(images.shape)
        return call(self, images)

    call = CompiledNetwork.__call__
    monkeypatch.setattr(CompiledNetwork, "__call__", noted)
    with pytest.warns(UserWarning, match="skipped"):
        train(faces, tmp_path / "run", replace(COMPILED, max_damaged=0.5, max_steps=4))
    assert 0 < len(shapes) < 4
    assert {shape[0] for shape in shapes} == {COMPILED.batch_size}


def test_a_machine_without_a_compiler_is_told_so(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(inductor.cpp, "cxx", ("/nowhere/g++",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    with pytest.raises(InputError, match=r"cannot be compiled here \(No working C\+\+ compiler") as error:
        train(people, tmp_path / "run", COMPILED)
    assert len(str(error.value).splitlines()) == 1


def test_recomputed_activations_are_refused() -> None:
    with pytest.raises(InputError, match="checkpoint_activations must be off with compile"):
        replace(COMPILED, checkpoint_activations=True)
