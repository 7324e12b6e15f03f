"""`elasticface train`: its settings, runs from start to resumed end, and what it refuses."""

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from command_line import ENVIRONMENT, SMALL, content, done, refused, run, words
from conftest import write_people

from elasticface import backbones, heads
from elasticface.data.images import decoding
from elasticface.model import load
from elasticface.training.config import RECIPES, Backbone, Loss, TrainConfig, read_config
from elasticface.training.run_files import read_metrics


def test_names_of_settings_are_those_of_the_heads_and_the_backbones() -> None:
    assert get_args(Loss) == tuple(heads.LOSSES)
    assert get_args(Backbone) == tuple(backbones.names())


def test_a_run_starts_from_another_and_resumes_without_it(people: Path, trained: Path) -> None:
    options = ("--freeze-backbone-epochs", "1", "--backbone-lr", "0.1")
    shutil.copytree(trained, "before")
    done("train", people, "--out", "run", *SMALL, "--max-steps", "2", "--init", "before", *options)
    before, after = (load(path).embed(np.zeros((1, 112, 112, 3), np.uint8)) for path in (trained, "run"))
    assert np.array_equal(before, after)
    shutil.rmtree("before")
    done("train", people, "--out", "run", "--max-steps", "4", "--resume")
    settings = read_config(Path("run/config.yaml"))
    assert (settings["init"], settings["freeze_backbone_epochs"], settings["backbone_lr"]) == ("before", 1, 0.1)
    assert read_metrics(Path("run"))[-1]["step"] == 4
    changed = refused("train", people, "--out", "run", *SMALL, *options, "--init", "other", "--resume")
    assert "was started with other settings: init before -> other" in changed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--init absent", "absent: no such model"),
        ("--init FACES", "not a model folder"),
        ("--init page.pth", "page.pth: not a file of weights alone: it is a web page"),
        ("--init face.onnx", "face.onnx"),
        ("--init", "--init"),
        ("--init=", "--init must be text, got ''"),
        ("--init MODEL --embedding-size 4", "fc.weight is [8, 6272] where [4, 6272] is needed"),
        ("--init MODEL --backbone mobilefacenet", "does not fit mobilefacenet of size 8"),
        ("--freeze-backbone-epochs 0.5", "--freeze-backbone-epochs must be a whole number, got '0.5'"),
        ("--freeze-backbone-epochs -1", "freeze_backbone_epochs must be at least 0, got -1"),
        ("--backbone-lr 0", "backbone_lr must be above 0, got 0.0"),
        ("--backbone-lr much", "--backbone-lr must be a number, got 'much'"),
    ],
)
def test_what_a_run_cannot_start_from_is_refused(options: str, told: str, people: Path, model: Path) -> None:
    Path("page.pth").write_text("<html>")
    Path("face.onnx").write_bytes(b"no model")
    given = words(options, FACES=people, MODEL=model)
    assert told in refused("train", people, "--out", "run", *SMALL, "--max-steps", "2", *given)


PAPERS_LOSSES = {"elastic-arc": (0.5, 0.05), "elastic-cos": (0.35, 0.05), "elastic-arc+": (0.5, 0.0175)} | {
    "elastic-cos+": (0.35, 0.025)
}


def settings(*options: str) -> dict[str, Any]:
    """The settings that `train` would run with."""
    found: dict[str, Any] = yaml.safe_load(done("train", "DATA", "--out", "RUN", *options, "--print-config"))
    return found


def test_train_has_an_option_for_every_setting_with_its_default() -> None:
    out = done("train", "--help")
    for setting in fields(TrainConfig):
        assert re.search(rf"^  --{setting.name.replace('_', '-')}\b", out, re.MULTILINE), setting.name
    assert settings() == asdict(TrainConfig())


def test_options_go_over_the_recipe_wherever_they_stand() -> None:
    for options in (("--lr", "0.2", "--config", "casia-iresnet50"), ("--config=casia-iresnet50", "--lr=0.2")):
        found = settings(*options)
        assert (found["lr"], found["backbone"], found["loss"]) == (0.2, "iresnet50", "elastic-arc")


def test_a_switch_needs_no_value_and_does_not_take_the_next_word(people: Path) -> None:
    assert settings("--sync-batchnorm")["sync_batchnorm"] is True
    assert settings("--sync-batchnorm", "--no-sync-batchnorm")["sync_batchnorm"] is False
    assert settings("--no-keep-best", "--lr", "1")["keep_best"] is False
    assert "no device 'mps' here" in refused("train", "--sync-batchnorm", people, "--out", "run", "--device", "mps")
    refusal = refused("train", people, "--out", "run", "--sync-batchnorm=true")
    assert "--sync-batchnorm/--no-sync-batchnorm: takes no value, got 'true'" in refusal


def test_a_switch_of_a_config_can_be_turned_over(here: Path) -> None:
    (here / "some.yaml").write_text("sync_batchnorm: true\nkeep_best: no\n")
    found = settings("--config", "some.yaml", "--no-sync-batchnorm")
    assert (found["sync_batchnorm"], found["keep_best"]) == (False, False)


def test_values_of_every_kind_are_taken() -> None:
    found = settings(
        "--margin=0.4", "--milestones", "3,5.5", "--precision", "bf16", "--max-steps", "7", "--validate", "x"
    )
    assert (found["margin"], found["milestones"], found["precision"]) == (0.4, [3, 5.5], "bf16")
    assert (found["max_steps"], found["validate"], found["std"]) == (7, ["x"], None)
    assert settings("--milestones", "[3,5.5]")["milestones"] == [3, 5.5]  # as it was written before
    assert settings("--milestones", "")["milestones"] == []


@pytest.mark.parametrize("data", ["FACES", "[FACES]"])
def test_a_config_may_name_the_data_and_the_run(data: str, people: Path, here: Path) -> None:
    (here / "some.yaml").write_text(f"data: {data.replace('FACES', str(people))}\nout: run\n")
    done("train", "--config", "some.yaml", *SMALL, "--max-steps", "1")
    assert (here / "run" / "model").is_dir()


def test_null_takes_back_what_a_config_gives(here: Path) -> None:
    (here / "some.yaml").write_text("margin: 0.4\n")
    assert settings("--config", "some.yaml", "--margin", "null")["margin"] is None


def test_a_config_may_have_numbers_for_names_and_texts_for_numbers(here: Path) -> None:
    (here / "some.yaml").write_text("precision: 64\nweight_decay: 5e-4\nscale: 32\nmilestones: [7, 13.5]\n")
    found = settings("--config", "some.yaml")
    assert (found["precision"], found["weight_decay"], found["scale"]) == ("64", 5e-4, 32.0)
    assert found["milestones"] == [7, 13.5]


def test_the_old_name_of_the_margin_is_read(people: Path, trained: Path, here: Path) -> None:
    (here / "old.yaml").write_text("m: 0.4\n")
    assert settings("--config", "old.yaml")["margin"] == 0.4
    shutil.copytree(trained, "run")
    config = here / "run" / "config.yaml"
    config.write_text(config.read_text().replace("\nmargin: null", "\nm: null"))
    assert "\nm: null" in config.read_text()
    assert "margin None -> 0.2" in refused("train", people, "--out", "run", "--resume", "--margin", "0.2")
    done("train", people, "--out", "run", "--resume", "--max-steps", "3")
    assert read_config(config)["margin"] is None


def test_both_names_of_the_margin_are_too_many(here: Path) -> None:
    (here / "both.yaml").write_text("m: 0.4\nmargin: 0.5\n")
    assert "both.yaml: no setting 'm'" in refused("train", "DATA", "--out", "RUN", "--config", "both.yaml")


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_is_found_by_name_and_makes_a_run(recipe: str) -> None:
    found = settings("--config", recipe)
    config = TrainConfig(**found)
    assert {name: found[name] for name in read_config(RECIPES / f"{recipe}.yaml")} == read_config(
        RECIPES / f"{recipe}.yaml"
    )
    head = heads.create(config.loss, 3, 8, **config.head_options())
    assert head.scale == config.scale
    assert config.backbone in backbones.names()
    assert recipe in " ".join(done("train", "--help").replace("-\n", "-").split())


@pytest.mark.parametrize("loss", PAPERS_LOSSES)
def test_the_papers_recipes_hold_the_papers_numbers(loss: str) -> None:
    config = TrainConfig(**settings("--config", f"ms1mv2-{loss.replace('+', '-plus')}"))
    head = heads.create(config.loss, 3, 8, **config.head_options())
    assert (config.loss, head.m, head.std) == (loss, *PAPERS_LOSSES[loss])
    assert (config.backbone, config.embedding_size, config.batch_size, config.epochs) == ("iresnet100", 512, 512, 26)
    assert (config.lr, config.momentum, config.weight_decay, config.clip_norm) == (0.1, 0.9, 5e-4, 5.0)
    assert (config.scale, config.schedule, config.milestones) == (64.0, "milestones", [7, 13, 19, 24])
    assert (config.order, config.decay_norm_and_bias, config.augment, config.sample_rate) == ("paper", True, 0, 1)
    per_epoch = 5_822_653 // 512
    assert config.total_steps(per_epoch) == 295_672
    for milestone in (79_604, 147_836, 216_068, 272_928):
        before, after = (config.learning_rate(step, per_epoch) for step in (milestone - 1, milestone))
        assert math.isclose(before, 10 * after)


def test_the_recipe_for_choosing_parameters_is_the_papers() -> None:
    config = TrainConfig(**settings("--config", "casia-iresnet50"))
    assert (config.backbone, config.loss, config.batch_size, config.lr) == ("iresnet50", "elastic-arc", 512, 0.1)


def test_a_runs_settings_can_be_anothers_config(people: Path) -> None:
    options = ["--milestones=1,2.5", "--margin=0.4", "--sync-batchnorm", "--loss=elastic-cos+", "--max-steps=1"]
    done("train", people, "--out", "one", *SMALL, *options)
    done("train", people, "--out", "two", "--config", "one/config.yaml")
    assert Path("one/config.yaml").read_bytes() == Path("two/config.yaml").read_bytes()
    found = TrainConfig(**read_config(Path("two/config.yaml")))
    assert (found.milestones, found.margin, found.sync_batchnorm, found.loss) == ([1, 2.5], 0.4, True, "elastic-cos+")
    assert Path("one/model/model.safetensors").read_bytes() == Path("two/model/model.safetensors").read_bytes()


def test_resuming_needs_no_settings(people: Path, trained: Path) -> None:
    shutil.copytree(trained, "run")
    done("train", people, "--out", "run", "--resume", "--max-steps", "4")
    before, after = (asdict(TrainConfig(**read_config(path / "config.yaml"))) for path in (trained, Path("run")))
    assert after == {**before, "max_steps": 4}
    assert [line["step"] for line in read_metrics(Path("run"))] == [1, 2, 3, 4]


def test_resuming_where_nothing_is_starts(people: Path) -> None:
    done("train", people, "--out", "run", "--resume", *SMALL, "--max-steps", "1")
    assert Path("run/model/model.json").exists()


def test_training_on_a_description_needs_no_folder_and_can_be_resumed() -> None:
    faces = "synthetic:identities=2,images=4,seed=1"
    code, _, told = run("train", faces, "--out", "run", *SMALL, "--max-steps", "1", "--workers", "1")
    assert code == 0, told
    assert "2 identities are rendered when they are first read" in told
    assert json.loads(Path("run/environment.json").read_text())["data"] == faces
    done("train", faces, "--out", "run", "--resume", "--max-steps", "2")
    done("train", faces, "--out", "unbroken", *SMALL, "--max-steps", "2")
    assert Path("run/model/model.safetensors").read_bytes() == Path("unbroken/model/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train", "data"),
        ("train FACES", "out"),
        ("train synthetic:identities=3 --out run", "synthetic:identities=3: images is missing"),
        (
            "train synthetic:identities=3,images=4,sead=1 --out run",
            "no setting 'sead'; synthetic faces are synthetic:id",
        ),
        ("train synthetic:identities=1,images=4 --out run", "training needs at least 2"),
        ("train FACES --out run --nope 3", "--nope"),
        ("train FACES --out run more", "more"),
        ("train FACES --out run --loss none", "--loss must be one of arcface, cosface, "),
        ("train FACES --out run --backbone none", "backbone must be one of iresnet18, "),
        ("train FACES --out run --backbone mobilefacenet --dropout 0.4", "dropout"),
        ("train FACES --out run --backbone iresnet18 --dropout 2", "dropout"),
        ("train FACES --out run --config none", "no recipe; there are casia-iresnet50"),
        ("train FACES --out run --config", "--config"),
        ("train FACES --out run --batch-size -4", "batch_size must be at least 1, got -4"),
        ("train FACES --out run --batch-size=-4", "batch_size must be at least 1, got -4"),
        ("train FACES --out run --batch-size many", "--batch-size must be a whole number, got 'many'"),
        ("train FACES --out run --batch-size 1.5", "--batch-size must be a whole number, got '1.5'"),
        ("train FACES --out run --lr fast", "--lr must be a number, got 'fast'"),
        ("train FACES --out run --lr 0", "lr must be above 0"),
        ("train FACES --out run --lr nan", "--lr must be a number, got 'nan'"),
        ("train FACES --out run --workers -1", "workers must be at least 0"),
        ("train FACES --out run --milestones 3,x", "--milestones must be numbers separated by commas, got '3,x'"),
        ("train FACES --out run --milestones 3,2", "milestones must be in rising order"),
        ("train FACES --out run --order sideways", "--order must be one of paper, release, got 'sideways'"),
        ("train FACES --out run --sync-batchnorm=perhaps", "takes no value, got 'perhaps'"),
        ("train FACES --out run --max-steps 0", "max_steps must be at least 1"),
        ("train FACES --out run --margin=-1", "m is out of range"),
        ("train FACES --out run --loss arcface --std 0.1", "std"),
        ("train FACES --out run --device abacus", "--device must be one of auto, cpu, cuda, mps, got 'abacus'"),
        ("train FACES --out run --device cpu --precision fp16", "precision fp16 needs a GPU"),
        ("train FACES --out run --precision 16", "--precision must be one of 32, bf16, fp16, 64, got '16'"),
        ("train FACES --out run --validate absent.bin,FACES", "absent.bin: cannot be read: No such file"),
        ("train FACES --out run --validate a,,b", "--validate must be words separated by commas, got 'a,,b'"),
        ("train FACES --out run --validate FACES --best-by lfw", "best_by must be one of those in validate, faces, "),
        ("train FACES --out run --best-by lfw", "best_by must be given with validate"),
        ("train FACES --out run --embedding-size 65537", "embedding_size must be at most 65,536, got 65537"),
        ("train FACES --out run --epoch 3", "--epoch"),
        ("train FACES --out run --images-per-identity 3", "images_per_identity must be a divisor of the batch size, 5"),
        ("train FACES --out run --images-per-identity 8", "nobody in the set has more than 5 images; give at most 5"),
        ("train FACES --out run --images-per-identity 4", "needs 128 identities, and 6 have images; give a small"),
        ("train FACES --out run --validate absent", "absent: no such folder or tar"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none_is_refused(people: Path, model: Path) -> None:
    assert "no device 'cuda' here; there is cpu" in refused("train", people, "--out", "run", "--device", "cuda")
    assert "no device 'cuda' here" in refused("evaluate", model, people, "--device", "cuda")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"losss: arcface\n", "no setting 'losss'"),
        (b"loss: none\n", "settings.yaml: loss must be one of arcface, "),
        (b"batch_size: many\n", "settings.yaml: batch_size must be a whole number, got 'many'"),
        (b"batch_size: 2020-01-01\n", "settings.yaml: batch_size must be a whole number, got 2020-01-01"),
        (b"batch_size: 2020-01-99\n", "settings.yaml: cannot be read"),
        (b"lr: " + b"[" * 100_000, "settings.yaml: cannot be read"),
        (b"lr: &a [1]\n" + b"#" * (1 << 20), "settings.yaml: more than 1,048,576 bytes"),
        (b"1: 2\n", "settings.yaml: no setting 1"),
        (b"batch-size: 8\n", "no setting 'batch-size'"),
        (b"loss: [arc\n", "settings.yaml: cannot be read"),
        (b"- loss\n", "settings.yaml: not a list of settings"),
        (b"", "settings.yaml: not a list of settings"),
        (b"\xff\xfe\x00", "settings.yaml: not UTF-8 text"),
        (b"lr: !!python/object/apply:os.system ['touch ran']\n", "settings.yaml: cannot be read"),
    ],
)
def test_a_config_that_is_none_is_refused_by_name(content: bytes, message: str, people: Path, here: Path) -> None:
    (here / "settings.yaml").write_bytes(content)
    assert message in refused("train", people, "--out", "run", *SMALL, "--config", "settings.yaml")


def test_training_data_that_is_none_is_refused(here: Path) -> None:
    assert "absent" in refused("train", "absent", "--out", "run", *SMALL)
    (here / "empty").mkdir()
    assert "identity" in refused("train", "empty", "--out", "run", *SMALL)
    (here / "notes.txt").write_text("mine")
    assert "notes.txt" in refused("train", "notes.txt", "--out", "run", *SMALL)
    write_people(here / "one", 1, 5)
    assert "at least 2" in refused("train", "one", "--out", "run", *SMALL)


@pytest.mark.parametrize("damage", ["a text", "a JPEG cut short"])
def test_a_damaged_image_of_ten_is_named_and_once_mended_the_run_goes_on(damage: str, here: Path) -> None:
    faces = write_people(here / "faces", 2, 5)
    whole = faces / "person_01" / "person_01_0003.png"
    broken = whole.with_suffix(".jpg")
    jpeg = decoding.encode(decoding.decode(whole.read_bytes(), "whole"), ".jpg")
    whole.unlink()
    broken.write_bytes(b"no picture" if damage == "a text" else jpeg[: len(jpeg) // 2])
    command = ["train", faces, "--out", "run", *SMALL, "--max-steps", "3"]
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("elasticface: "))
    assert str(broken) in line
    assert "at most 0.1%" in line
    assert not Path("run/model").exists()
    broken.write_bytes(jpeg)
    done(*command, "--resume")
    assert Path("run/model/model.json").exists()


def test_resuming_into_another_shape_is_refused(trained: Path, here: Path) -> None:
    shutil.copytree(trained, "run")
    write_people(here / "three", 3, 5)
    before = content(Path("run"))
    code, out, err = run("train", "three", "--out", "run", "--resume")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "there were 6 identities, and are 3" in err
    after = content(Path("run"))
    assert before.keys() == after.keys()
    for name in before.keys() - {"config.yaml", "environment.json"}:
        assert before[name] == after[name], name
    assert read_config(trained / "config.yaml") == read_config(Path("run/config.yaml"))


def test_resuming_with_other_settings_is_refused(people: Path, trained: Path) -> None:
    shutil.copytree(trained, "run")
    assert "lr 0.1 -> 0.2" in refused("train", people, "--out", "run", "--resume", "--lr", "0.2")


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_resume(people: Path) -> None:
    command = [sys.executable, "-m", "elasticface", "train", str(people), "--out", "run", *SMALL, "--epochs", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while process.poll() is None and len(read_metrics(Path("run"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("elasticface: "))
    assert err.endswith(line + "\n")
    resume_command = f"elasticface train {people} --out run --resume"
    assert line.endswith(f"resume with: {resume_command}")
    (checkpoint,) = sorted(Path("run/checkpoints").iterdir())[-1:]
    assert str(checkpoint) in line
    steps = int(checkpoint.name.removeprefix("step-"))
    done(*resume_command.split()[1:], "--max-steps", str(steps + 1))
    assert Path("run/model/model.json").exists()
