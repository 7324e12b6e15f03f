"""The loop: it learns, it resumes bit for bit, it stops with a reason."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import torch
from compared import made_up
from safetensors.torch import load_file

from elasticface import heads
from elasticface.base.errors import InputError, Stopped
from elasticface.data import open_dataset
from elasticface.model import load
from elasticface.model.storing import store_calibration
from elasticface.training import checkpoint
from elasticface.training.config import TrainConfig
from elasticface.training.identities import IDENTITIES, Identities
from elasticface.training.loop import train
from elasticface.training.processes import World
from elasticface.training.run_files import read_metrics
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState
from elasticface.training.step import Batch, forward_backward

SMALL = replace(
    small_run.SMALL,
    loss="elastic-arc+",
    max_steps=7,
    epochs=4,
    schedule="cosine",
    warmup_epochs=0.5,
    augment=1.0,
    log_every=2,
    checkpoint_every="2",
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.fixture(scope="module")
def unbroken(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    train(people, run, SMALL)
    return run


def test_a_run_holds_what_the_contract_names(unbroken: Path) -> None:
    assert {"config.yaml", "metrics.jsonl", "environment.json", "checkpoints", "model"} <= set(os.listdir(unbroken))
    lines = read_metrics(unbroken)
    assert [line["step"] for line in lines] == [2, 4, 6, 7]
    names = {"step", "epoch", "loss", "lr", "images_per_second", "gradient_norm", "target_cosine"}
    assert all(names <= line.keys() for line in lines)
    assert all(line["gradient_norm"] > 0 and -1 <= line["target_cosine"] <= 1 for line in lines)


def test_same_seed_same_bits(unbroken: Path, people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "again", replace(SMALL, workers=2))
    assert_same_bits(weights(unbroken), weights(tmp_path / "again"))


def test_recomputed_blocks_give_the_same_bits(unbroken: Path, people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "again", replace(SMALL, checkpoint_activations=True))
    assert_same_bits(weights(unbroken), weights(tmp_path / "again"))


def test_resumed_run_ends_in_the_same_bits(unbroken: Path, people: Path, tmp_path: Path) -> None:
    for stop in (1, 4, 5):  # within an epoch of three steps, at its beginning, and next to its end
        run = tmp_path / f"stopped-after-{stop}"
        with pytest.raises(Stopped, match="--resume") as stopped:
            train_until_interrupted(people, run, stop)
        assert stopped.value.exit_code == 0
        train(people, run, SMALL, resume=True)
        assert_same_bits(weights(unbroken), weights(run))
        assert [(m["step"], m["loss"]) for m in read_metrics(run)] == [
            (m["step"], m["loss"]) for m in read_metrics(unbroken)
        ]


def test_another_thread_is_refused_before_anything_is_written(people: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="call it from the main thread"):
        pool.submit(train, people, tmp_path / "run", SMALL).result()
    assert not (tmp_path / "run").exists()


def test_a_finished_run_that_is_resumed_keeps_its_calibration(unbroken: Path, people: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(unbroken, tmp_path / "run"))
    store_calibration(run, made_up())
    before = (run / "model" / "model.json").read_bytes()
    train(people, run, SMALL, resume=True)
    assert (run / "model" / "model.json").read_bytes() == before
    run = run.rename(tmp_path / "renamed")
    train(people, run, replace(SMALL, log_every=5, max_logits_bytes=1), resume=True)  # the same weights
    card = json.loads((run / "model" / "model.json").read_text())
    assert card["calibration"] == json.loads(before)["calibration"]
    assert (card["name"], card["training"]["log_every"]) == ("renamed", 5)
    train(people, run, replace(SMALL, max_steps=8), resume=True, schedule_changed=True)  # another model
    assert json.loads((run / "model" / "model.json").read_text())["calibration"] is None


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.1, "sample_rate": 0.4},
        {"optimizer": "adamw", "lr": 0.001, "decay_norm_and_bias": False, "accumulate": 2},
        {"nesterov": True},
        {"head_products": "bfloat16", "sample_rate": 0.4},
        {"ema": 0.5, "checkpoint_activations": True},
        {"images_per_identity": 2, "workers": 1},
    ],
    ids=str,
)
def test_other_optimizers_resume_in_the_same_bits_and_learn(
    settings: dict[str, Any], people: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, **settings, log_every=1, augment=0.0)
    train(people, tmp_path / "whole", config)
    with pytest.raises(Stopped):
        train_until_interrupted(people, tmp_path / "run", 3, config)
    train(people, tmp_path / "run", config, resume=True)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert losses[-1] < losses[0]
    with pytest.raises(InputError, match=f"{next(iter(settings))} .* -> "):
        train(people, tmp_path / "run", SMALL, resume=True)


def test_the_model_is_the_moving_average_of_the_weights_and_training_does_not_see_it(
    people: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, precision="64", log_every=1)
    expected: dict[str, torch.Tensor] = {}

    def average(state: TrainState, run: RunFolder) -> None:
        assert run.encoder(state).network is state.network is not state.backbone  # what is validated
        for name, value in state.backbone.state_dict().items():
            if value.is_floating_point():  # the first step's weights begin it
                expected[name] = 0.8 * expected[name] + 0.2 * value if name in expected else value.clone()

    train(people, tmp_path / "plain", config)
    encoder = train(people, tmp_path / "run", replace(config, ema=0.8), [average])
    plain, averaged = read_metrics(tmp_path / "plain"), read_metrics(tmp_path / "run")
    assert [line["loss"] for line in plain if "loss" in line] == [line["loss"] for line in averaged if "loss" in line]
    kept = weights(tmp_path / "run")
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, rtol=1e-12, atol=1e-14)
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    np.testing.assert_allclose(encoder.embed(faces), load(tmp_path / "run", SMALL.backbone).embed(faces), atol=1e-6)


def test_a_vision_transformer_resumes_in_the_same_bits(people: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"drop_path": 0.5, "checkpoint_activations": True}
    config = replace(SMALL, backbone="own_parts:transformer", batch_size=4, max_steps=2, **options)
    train(people, tmp_path / "whole", config)
    with pytest.raises(Stopped):
        train_until_interrupted(people, tmp_path / "run", 1, config)
    train(people, tmp_path / "run", config, resume=True)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def train_until_interrupted(people: Path, run: Path, step: int, config: TrainConfig = SMALL) -> None:
    """A run that is sent SIGTERM, a cluster's warning, while it makes ``step``."""
    forward, calls = heads.MarginHead.forward, 0

    def interrupting(self: heads.MarginHead, *inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *inputs, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads.MarginHead, "forward", interrupting)
        train(people, run, config)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    unbroken: Path, people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "damaged"
    with pytest.raises(Stopped):
        train_until_interrupted(people, run, 5)
    newest = max((run / "checkpoints").iterdir())
    shard = next(newest.glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    train(people, run, SMALL, resume=True)
    assert newest.name in capfd.readouterr().err
    assert_same_bits(weights(unbroken), weights(run))


def test_accumulated_parts_are_the_whole_batch(people: Path, tmp_path: Path) -> None:
    # Without batch norm's statistics and "+"'s ranks, which are a part's own, the parts sum up to the batch.
    images = torch.linspace(-1, 1, 84, dtype=torch.float64).view(7, 3, 2, 2)
    batch = Batch(images, torch.arange(7) % 5, torch.arange(7), 7, (7,))
    gradients = []
    for parts in (1, 3):
        torch.manual_seed(0)
        backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)).double()
        config = replace(SMALL, precision="64", accumulate=parts)
        state = TrainState(config, World(torch.device("cpu")), backbone, heads.CosFace(5, 4).double(), per_epoch=1)
        outcome = forward_backward(state, batch, config)
        cosine = state.head.cosine(backbone(images))[torch.arange(7), batch.labels].mean()
        assert outcome.target_cosine == pytest.approx(float(cosine.detach()), rel=1e-12)
        gradients.append(backbone[1].weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-15)


def test_a_loss_that_is_not_finite_stops_the_run(people: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"(?s)steps in a row were skipped.* loss .*(nan|inf).*checkpoint") as stopped:
        train(people, tmp_path / "run", replace(SMALL, lr=1e30, clip_norm=0, warmup_epochs=0, max_steps=8))
    assert stopped.value.exit_code == 1
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_used_folder_is_refused_and_left_alone(resume: bool, people: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something already, and no run to resume; give another folder"):
        train(people, tmp_path, SMALL, resume=resume)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_run_is_not_trained_over_by_mistake(unbroken: Path, people: Path) -> None:
    with pytest.raises(InputError, match="holds something already; resume it with --resume"):
        train(people, unbroken, SMALL)


def test_a_run_without_a_folder_is_refused(people: Path) -> None:
    with pytest.raises(InputError, match="the run folder must have a name, got ''"):
        train(people, "", SMALL)


def test_resuming_with_other_settings_is_refused(unbroken: Path, people: Path) -> None:
    with pytest.raises(InputError, match="batch_size 8 -> 4"):
        train(people, unbroken, replace(SMALL, batch_size=4), resume=True)


def test_a_checkpoint_of_another_shape_is_refused(unbroken: Path, people: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    shutil.copytree(unbroken, folder.parent)
    shutil.rmtree(folder)
    source = open_dataset(people)
    smaller = TrainState.create(replace(SMALL, embedding_size=8), source, World(torch.device("cpu")))
    checkpoint.start(folder, smaller, 1, 1, records={IDENTITIES: asdict(Identities.of(source))}).finish()
    with pytest.raises(InputError, match=r"is \[8, \d+\], \[16, \d+\] is needed"):
        train(people, folder.parent, SMALL, resume=True)


def test_one_identity_is_refused(tmp_path: Path) -> None:
    from conftest import write_people

    with pytest.raises(InputError, match="at least 2"):
        train(write_people(tmp_path / "faces", 1, 5), tmp_path / "run", SMALL)
    assert not (tmp_path / "run").exists()


def test_too_many_damaged_images_are_named_and_refused(tmp_path: Path) -> None:
    from conftest import write_people

    faces = write_people(tmp_path / "faces", 2, 5)
    (faces / "person_00" / "person_00_0003.png").write_text("no picture")
    with pytest.raises(InputError, match=r"person_00_0003\.png"):
        train(faces, tmp_path / "run", SMALL)


@pytest.mark.parametrize("loss", list(heads.LOSSES))
def test_every_loss_learns(loss: str, people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "run", replace(SMALL, loss=loss, max_steps=8, log_every=4, augment=0.0))
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert losses[-1] < losses[0]


def test_validation_is_logged_and_changes_nothing(unbroken: Path, people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "run", replace(SMALL, validate=str(people)))
    assert_same_bits(weights(unbroken), weights(tmp_path / "run"))
    lines = [line for line in read_metrics(tmp_path / "run") if "benchmark" in line]
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert all(0 <= line["accuracy"] <= 1 and line["benchmark"] == "faces" for line in lines)


def test_the_best_validated_checkpoint_stays(people: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, validate=str(people), keep_checkpoints=1)
    train(people, tmp_path / "run", settings)
    lines = [line for line in read_metrics(tmp_path / "run") if "benchmark" in line]
    best = max(lines, key=lambda line: (line["accuracy"], -line["step"]))
    folder = tmp_path / "run" / "checkpoints"
    assert json.loads((folder / "best.json").read_text()) == {
        "checkpoint": f"step-{best['step']:09d}",
        "step": best["step"],
        "benchmark": "faces",
        "accuracy": best["accuracy"],
    }
    steps = sorted({best["step"], 7})
    assert sorted(os.listdir(folder)) == ["best.json", *(f"step-{step:09d}" for step in steps)]

    train(people, tmp_path / "off", replace(settings, keep_best=False))
    assert os.listdir(tmp_path / "off" / "checkpoints") == ["step-000000007"]


def test_a_run_that_is_stopped_at_the_end_of_an_epoch_misses_no_validation(people: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, validate=str(people))
    with pytest.raises(Stopped, match="step-000000003; resume with"):
        train_until_interrupted(people, tmp_path / "run", 3, settings)
    train(people, tmp_path / "run", settings, resume=True)
    assert [m["step"] for m in read_metrics(tmp_path / "run") if "benchmark" in m] == [3, 6, 7]


def test_a_resumed_run_removes_what_a_killed_one_left(people: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        train_until_interrupted(people, run, 1)
    (run / "checkpoints" / ".step-000000002.0123abcd.tmp").mkdir()
    (run / "checkpoints" / ".step-000000002.0123abcd.tmp" / "__0_0.distcp").write_bytes(b"half")
    (run / ".config.yaml.0123abcd.tmp").write_text("half")
    train(people, run, SMALL, resume=True)
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")]


def test_learning_rate_of_the_paper() -> None:
    paper, per_epoch = TrainConfig(), 5_822_653 // 512
    assert paper.total_steps(per_epoch) == 295_672
    for milestone, rate in ((79_604, 1e-2), (147_836, 1e-3), (216_068, 1e-4), (272_928, 1e-5)):
        assert paper.learning_rate(milestone - 1, per_epoch) == pytest.approx(rate * 10)
        assert paper.learning_rate(milestone, per_epoch) == pytest.approx(rate)


def test_cosine_rises_then_falls_to_zero() -> None:
    config = TrainConfig(schedule="cosine", epochs=10, warmup_epochs=2)
    rates = np.array([config.learning_rate(step, 50) for step in range(500)])
    assert np.all(np.diff(rates[:100]) > 0)
    assert np.all(np.diff(rates[101:]) < 0)
    assert rates.max() == pytest.approx(0.1)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize(
    ("setting", "value"),
    [("batch_size", 0), ("lr", 0.0), ("momentum", 1.0), ("milestones", [3, 2]), ("accumulate", 513), ("seed", -1)],
)
def test_settings_out_of_range_are_refused(setting: str, value: object) -> None:
    with pytest.raises(InputError, match=setting):
        TrainConfig(**{setting: value})  # type: ignore[arg-type]


def test_metrics_cut_short_by_a_kill_are_read_up_to_the_cut(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1}]
