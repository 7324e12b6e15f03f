"""The command line: what it takes, the one line with which it refuses the rest, and the way from faces to a report."""

import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
import torch
import yaml
from command_line import content, done, refused, run
from conftest import write_pairs, write_people
from large import write_features, write_ijb, write_megaface
from made_results import Page
from onnx import TensorProto, helper

import elasticface
from elasticface import backbones, heads
from elasticface.base import files
from elasticface.cli import main
from elasticface.data.images import decoding
from elasticface.data.images.alignment import TEMPLATE
from elasticface.data.synthetic.scene import Variation
from elasticface.faces.landmarks import COLUMNS
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.training.config import RECIPES, TrainConfig
from elasticface.training.run_folder import read_config, read_metrics

SMALL = "--backbone tiny --embedding-size 8 --batch-size 8 --scale 16 --device cpu --workers 0 --log-every 1".split()
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(elasticface.__file__).parent.parent)}  # of other processes
COMMANDS = ("quickstart", "synthesize", "align", "convert", "split", "pack", "train", "evaluate", "compare", "plan")


def settings(*options: str) -> dict[str, Any]:
    """The settings that `train` would run with."""
    found = yaml.safe_load(done("train", "DATA", "--out", "RUN", *options, "--print_config"))
    return {field.name: found[field.name] for field in fields(TrainConfig)}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on six people."""
    path = tmp_path_factory.mktemp("trained") / "run"
    done("train", people, "--out", path, *SMALL, "--max-steps", "2")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("small") / "small"
    FaceEncoder(backbones.create("tiny", 8), Card("small", "tiny", 8)).save(path)
    return path


# ---------------------------------------------------------------------------------------------- help and version


def test_without_arguments_it_helps() -> None:
    out = done()
    assert out == done("--help")
    assert all(command in out for command in COMMANDS)


def test_version_is_the_packages() -> None:
    assert done("--version") == f"elasticface {elasticface.__version__}\n"


CONTRACT = {
    "quickstart": "--out --small --seed --workers",
    "synthesize": "out --identities --images-per-identity --heterogeneity --seed --first --appearance --preview",
    "align": "photos out --landmarks",
    "convert": "src dst --to --size --per-shard --seed --resume",
    "split": "faces out --people --pairs --seed",
    "pack": "dir out --pairs --landmarks --size --overwrite",
    "train": "data --out --config --loss --backbone --epochs --seed --resume --batch-size --max-steps --lr --workers"
    " --validate --sync-batchnorm --sample-rate --log-every --device --precision",
    "evaluate": "model benchmarks --out --pairs --landmarks --mean --std --features",
    "compare": "results --out --draws --seed",
    "plan": "--identities --gpus --gpus-per-node --batch --batch-size --sample-rate --precision --images --json",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option_that_scripts_rely_on(command: str) -> None:
    out = done(command, "--help")
    for option in CONTRACT[command].split():
        assert re.search(rf"^  {option}\b", out, re.MULTILINE), option


def test_train_has_an_option_for_every_setting_with_its_default() -> None:
    out = done("train", "--help")
    for setting in fields(TrainConfig):
        assert f"--{setting.name.replace('_', '-')} " in out
    assert settings() == asdict(TrainConfig())


@pytest.mark.parametrize("program", ["import elasticface", "from elasticface.cli import main; main._parser()"])
def test_importing_and_parsing_do_without_torch(program: str) -> None:
    checks = f"{program}; import sys; print({{'torch', 'cv2', 'numpy', 'numba', 'matplotlib'}} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", checks], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert ended.stdout == "set()\n"


def test_helping_as_a_module_does_without_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "elasticface", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "jsonargparse" in imported
    assert not {"torch", "cv2", "numba"} & imported
    assert "evaluate" in ended.stdout


# ---------------------------------------------------------------------------------------------- settings


def test_options_go_over_the_recipe_wherever_they_stand() -> None:
    for options in (("--lr", "0.2", "--config", "casia-iresnet50"), ("--config=casia-iresnet50", "--lr=0.2")):
        found = settings(*options)
        assert (found["lr"], found["backbone"], found["loss"]) == (0.2, "iresnet50", "elastic-arc")


def test_a_switch_works_bare_anywhere_and_with_a_value(people: Path) -> None:
    assert settings("--sync-batchnorm")["sync_batchnorm"] is True
    assert settings("--sync-batchnorm=true")["sync_batchnorm"] is True
    assert settings("--sync-batchnorm", "false")["sync_batchnorm"] is False
    assert settings("--no-decay-norm-and-bias")["decay_norm_and_bias"] is False
    assert settings("--no-decay-norm-and-bias", "--lr", "1")["decay_norm_and_bias"] is False
    # Before a positional argument it must not take that for its value.
    assert "unknown loss" in refused("train", "--sync-batchnorm", people, "--out", "run", *SMALL, "--loss", "none")


def test_values_of_every_kind_are_taken() -> None:
    found = settings("--m=0.4", "--milestones=[3,5.5]", "--precision", "bf16", "--max-steps", "7", "--validate", "x")
    assert (found["m"], found["milestones"], found["precision"]) == (0.4, [3, 5.5], "bf16")
    assert (found["max_steps"], found["validate"], found["std"]) == (7, "x", None)


PAPERS_LOSSES = {"elastic-arc": (0.5, 0.05), "elastic-cos": (0.35, 0.05), "elastic-arc+": (0.5, 0.0175)} | {
    "elastic-cos+": (0.35, 0.025)
}


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
    options = ["--milestones=[1,2.5]", "--m=0.4", "--sync-batchnorm", "--loss=elastic-cos+", "--max-steps=1"]
    done("train", people, "--out", "one", *SMALL, *options)
    done("train", people, "--out", "two", "--config", "one/config.yaml")
    assert Path("one/config.yaml").read_bytes() == Path("two/config.yaml").read_bytes()
    found = TrainConfig(**read_config(Path("two/config.yaml")))
    assert (found.milestones, found.m, found.sync_batchnorm, found.loss) == ([1, 2.5], 0.4, True, "elastic-cos+")
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


# ---------------------------------------------------------------------------------------------- the whole way


def test_from_faces_to_a_report(people: Path) -> None:
    done("train", people, "--out", "run", *SMALL, "--max-steps", "4", "--validate", people)
    out = done("evaluate", "run", people)
    assert "run/results.json" in out
    assert "run/report.html" in out
    found = json.loads(Path("run/results.json").read_text())
    assert set(found["rules"]) == {"at-most", "nearest"}
    assert found["versions"]["elasticface"] == elasticface.__version__
    assert {"torch", "numpy", "python"} <= found["versions"].keys()
    (result,) = found["results"]
    assert (result["model"], result["benchmark"]) == ("run", "faces")
    assert "squared L2 distance" in result["protocol"]
    assert result["counts"] == {"pairs": 48, "genuine": 24, "impostor": 24, "images": 30, "skipped_pairs": 0}
    assert 0 <= result["accuracy"] <= 1
    assert 0 <= result["eer"] <= 1
    assert len(result["per_fold"]) == 2
    for rule in ("at-most", "nearest"):
        assert set(result["tar_at_far"][rule]) == {"0.001", "0.01", "0.1"}
    page = Path("run/report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "person_00" in page
    assert f"{100 * result['accuracy']:.2f}" in page


def test_results_go_where_they_are_sent_with_a_baseline_beside(people: Path, model: Path) -> None:
    done("evaluate", model, people, "--out", "deep/results", "--baseline", people, "--no-flip")
    found = json.loads(Path("deep/results/results.json").read_text())
    assert [result["model"] for result in found["results"]] == ["small", "whitened PCA"]
    assert sorted(os.listdir("deep/results")) == ["report.html", "results.json", "scores"]
    assert os.listdir() == ["deep"]


def test_stored_results_are_compared(people: Path, model: Path) -> None:
    done("evaluate", model, people, "--out", "one", "--baseline", people)
    done("evaluate", model, people, "--out", "two", "--no-flip")
    out = done("compare", "one", "two", "--out", "both", "--draws", "100")
    assert out.endswith("both/comparison.json\nboth/report.html\n")
    assert "A: one: small" in out
    made = json.loads(Path("both/comparison.json").read_text())
    assert made["models"] == ["one: small", "whitened PCA", "two: small"]
    assert {contrast["units"] for contrast in made["contrasts"]} == {"people"}
    assert len(made["contrasts"]) == 3
    figures = ["accuracy", "0.001", "0.01", "0.1", "eer"]
    assert all([d["figure"] for d in contrast["differences"]] == figures for contrast in made["contrasts"])
    assert {contrast["draws"] for contrast in made["contrasts"]} == {100}
    assert made["borda"] == {}  # by the paper's benchmarks alone
    assert any(note.startswith("no Borda count: none of LFW, ") for note in made["notes"])
    stored = json.loads(Path("one/results.json").read_text())["results"][0]
    assert made["contrasts"][0]["differences"][0]["first"] == stored["accuracy"]
    assert "two: small" in Path("both/report.html").read_text()
    assert "faces, 48 pairs" in done("compare", "one", "--draws", "100")


def test_stored_results_on_large_benchmarks_are_compared() -> None:
    rows, large = write_ijb(Path("IJBC"), subjects=40, pictures=False), write_megaface(Path("MegaFace"))
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        np.save(f"{name}.npy", rng.normal(1, 1, (len(rows.faces), 8)).astype(np.float32))
        probes, others = (rng.normal(1, 1, (len(of), 8)).astype(np.float32) for of in (large.probes, large.distractors))
        write_features(Path(name), large, probes, others)
        done("evaluate", f"{name}.npy", "IJBC", "--out", f"ijb-{name}")
        done("evaluate", name, "MegaFace", "--out", f"mega-{name}")
    out = done("compare", "ijb-a", "ijb-b", "mega-a", "mega-b", "--out", "both", "--draws", "100")
    assert "IJB-C 1:1, 80 genuine pairs" in out
    made = json.loads(Path("both/comparison.json").read_text())
    compared = [(c["benchmark"], c["units"], c["draws"], len(c["differences"])) for c in made["contrasts"]]
    names = ("IJB-C 1:1", 12), ("IJB-C 1:N", 5), ("MegaFace", 2), ("MegaFace (R)", 2)
    assert compared == [(name, "subjects", 2000, count) for name, count in names]
    assert any(d["interval"] for c in made["contrasts"] for d in c["differences"])
    assert made["borda"] == {}
    found = json.loads(Path("ijb-a/results.json").read_text())["results"]
    assert made["contrasts"][1]["differences"][0]["first"] == found[1]["rank"]["1"]
    assert (
        "2,000 bootstrap resamples over people, by the benchmark's own lists"
        in Page(Path("both/report.html").read_text()).text
    )
    for result in found:
        assert result["intervals_by"] == "bootstrap over 40 people, 2,000 draws"
        assert set(result["stored"]) == {"file", "sha256", "units", "trials"}
        del result["stored"]
    Path("ijb-a/results.json").write_text(json.dumps({"format_version": 2, "results": found, "versions": {}}))
    done("compare", "ijb-a", "ijb-b", "--out", "without", "--draws", "100")
    without = json.loads(Path("without/comparison.json").read_text())
    assert {d["interval"] for c in without["contrasts"] for d in c["differences"]} == {None}
    for number in (0, 1):
        both, neither = (of["contrasts"][number]["differences"] for of in (made, without))
        assert [d["value"] for d in both] == [d["value"] for d in neither]
    assert "IJB-C 1:1: no resamples are stored for a, so their differences have no intervals" in without["notes"]


def test_results_on_other_pairs_are_not_compared(people: Path, model: Path) -> None:
    done("evaluate", model, people, "--out", "one")
    lines = (people / "pairs.txt").read_text().splitlines()
    Path("fewer.txt").write_text("\n".join(lines[:-1]) + "\n")
    done("evaluate", model, people, "--pairs", "fewer.txt", "--out", "two")
    refusal = refused("compare", "one", "two", "--out", "both")
    assert "faces: one: small (48) and two: small (47) were not measured on the same pairs; evaluate both on" in refusal
    assert not Path("both").exists()


def test_a_model_folder_gets_no_results_in_it(people: Path, trained: Path, model: Path) -> None:
    shutil.copytree(trained, "run")
    for path in ("run/model", model):
        before = content(Path(path))
        done("evaluate", path, people)
        assert content(Path(path)) == before
        assert sorted(os.listdir("results")) == ["report.html", "results.json", "scores"]
        shutil.rmtree("results")


def test_the_flip_can_be_left_out(people: Path, model: Path) -> None:
    for option, protocol in (("--flip", "image and mirror image added, "), ("--no-flip", "image alone, ")):
        done("evaluate", model, people, "--out", "results", option)
        (result,) = json.loads(Path("results/results.json").read_text())["results"]
        assert result["protocol"].startswith(protocol)


def test_two_benchmarks_of_one_name_are_told_apart(model: Path) -> None:
    for parent, seed in (("a", 1), ("b", 2)):
        write_pairs(write_people(Path(parent) / "faces", 3, 3, seed=seed), 3, 3)
    done("evaluate", model, "a/faces", "b/faces", "--out", "results")
    found = json.loads(Path("results/results.json").read_text())["results"]
    assert [result["benchmark"] for result in found] == ["a/faces", "b/faces"]


def test_an_onnx_of_another_size_is_evaluated_with_its_preprocessing() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["faces"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Flatten", ["pooled"], ["embeddings"]),
        ],
        "patches",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["batch", 3, 56, 56])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 147])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "patches.onnx")
    faces = write_pairs(write_people(Path("faces"), 4, 3, size=56), 4, 3)
    assert "takes images of 56 pixels" in refused("evaluate", "patches.onnx", faces)
    mean, std = "[0.485,0.456,0.406]", "[0.229,0.224,0.225]"
    done("evaluate", "patches.onnx", faces, "--size", "56", "--mean", mean, "--std", std, "--channels", "BGR")
    assert json.loads(Path("results/results.json").read_text())["results"][0]["accuracy"] == 1


def write_landmarks(path: Path, names: list[str], columns: int = len(COLUMNS)) -> Path:
    """The template's own points for every photo."""
    rows = [COLUMNS, *([name, "0.99", *map(str, TEMPLATE.ravel())] for name in names)]
    path.write_text("".join(",".join(row[:columns]) + "\n" for row in rows))
    return path


def test_align_then_split_then_evaluate(model: Path) -> None:
    photos = write_people(Path("photos"), 8, 4)
    names = [path.relative_to(photos).as_posix() for path in photos.rglob("*.png")]
    write_landmarks(Path("five.csv"), names)
    out = done("align", photos, "aligned", "--landmarks", "five.csv", "--format", "png", "--workers", "1")
    assert "112x112 png" in out
    assert len(list(Path("aligned").rglob("*.png"))) == 32
    assert np.array_equal(
        decoding.decode(Path("aligned", names[0]).read_bytes(), names[0]),
        decoding.decode(Path("photos", names[0]).read_bytes(), names[0]),
    )
    out = done("split", "aligned", "parts", "--people", "4", "--pairs", "40")
    assert "4 people, 16 images" in out
    done("evaluate", model, "parts/heldout")
    assert json.loads(Path("results/results.json").read_text())["results"][0]["counts"]["pairs"] == 40


# ---------------------------------------------------------------------------------------------- packs and CFP


# ---------------------------------------------------------------------------------------------- formats of faces


def test_converted_faces_train_to_the_same_bits_whatever_their_format(people: Path) -> None:
    made = {}
    for to in ("recordio", "folder"):
        out = done("convert", people, to, "--to", to)
        assert "recordio: 30 images of 6 identities" in out or to == "folder"
        assert "verified: every label and pixel read back is the source's" in out
        done("train", to, "--out", f"run-{to}", *SMALL, "--max-steps", "2")
        made[to] = (Path(f"run-{to}") / "model" / "model.safetensors").read_bytes()
    assert made["recordio"] == made["folder"]


def test_shards_train_and_a_resumed_run_ends_in_the_same_bits(people: Path) -> None:
    done("convert", people, "shards", "--to", "shards", "--per-shard", "7")
    pattern = "shards/shard-{000000..000004}.tar"
    done("train", pattern, "--out", "whole", *SMALL, "--max-steps", "5")
    done("train", pattern, "--out", "parts", *SMALL, "--max-steps", "2")
    done("train", pattern, "--out", "parts", *SMALL, "--max-steps", "5", "--resume")
    one, other = (Path(run) / "model" / "model.safetensors" for run in ("whole", "parts"))
    assert one.read_bytes() == other.read_bytes()


@pytest.fixture(scope="module")
def ten_folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(write_people(tmp_path_factory.mktemp("ten") / "lfw", 6, 6), 6, 6, folds=10)


def results(folder: str = "results") -> list[dict[str, Any]]:
    """The figures, without where the scores are: a pack's pairs go by other names."""
    found = json.loads(Path(folder, "results.json").read_text())["results"]
    return [{key: value for key, value in result.items() if key != "stored"} for result in found]


def test_a_folder_then_its_pack_has_the_same_figures(ten_folds: Path, model: Path) -> None:
    out = done("pack", ten_folds, "lfw.bin")
    assert out == f"60 pairs of 36 images; {Path('lfw.bin').stat().st_size:,} bytes\nlfw.bin\n"
    shutil.copy("lfw.bin", "agedb_30.bin")
    done("evaluate", model, "lfw.bin", "agedb_30.bin", "--out", "packs")
    done("evaluate", model, ten_folds, "--out", "folder")
    (folder,) = results("folder")
    for result, name in zip(results("packs"), ("lfw", "agedb_30"), strict=True):
        assert result == {**folder, "benchmark": name}
    assert "000000" in Path("packs/report.html").read_text()


def test_photos_with_landmarks_are_packed_aligned(ten_folds: Path, model: Path) -> None:
    names = [path.relative_to(ten_folds).as_posix() for path in ten_folds.rglob("*.png")]
    landmarks = write_landmarks(Path("five.csv"), names)
    options = ("--pairs", ten_folds / "pairs.txt", "--landmarks", landmarks)
    assert "36 aligned or stored again as PNG" in done("pack", ten_folds, "new/lfw.bin", *options)
    done("evaluate", model, "new/lfw.bin", "--out", "pack")
    done("evaluate", model, ten_folds, *options, "--out", "photos")
    assert results("pack") == results("photos")


def test_a_pack_that_is_there_is_only_overwritten_when_told(ten_folds: Path) -> None:
    Path("lfw.bin").write_bytes(b"old")
    assert "lfw.bin: is there already; give another name, or --overwrite" in refused("pack", ten_folds, "lfw.bin")
    assert "60 pairs" in done("pack", ten_folds, "lfw.bin", "--overwrite")


def test_a_pack_that_would_run_something_is_refused_in_one_line(model: Path) -> None:
    Path("evil.bin").write_bytes(b"\x80\x02]q\x00cposix\nsystem\nX\x09\0\0\0touch ran\x85Ra]\x86.")
    assert "evil.bin: refused: it asks for posix.system" in refused("evaluate", model, "evil.bin")
    assert "evil.bin: refused: it asks for posix.system" in refused("pack", "evil.bin", "good.bin")


def write_cfp(root: Path, faces: Path) -> Path:
    """The photos of ``faces`` as CFP has them, person 1 to 6 with four frontal and two profile photos."""
    for person, folder in enumerate(sorted(path for path in faces.iterdir() if path.is_dir()), 1):
        for number, photo in enumerate(sorted(folder.iterdir())):
            kind, place = ("frontal", number) if number < 4 else ("profile", number - 4)
            target = root / "Data" / "Images" / f"{person:03d}" / kind / f"{place + 1:02d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, target)
    (root / "Protocol").mkdir()
    for letter, kind, count in (("F", "frontal", 4), ("P", "profile", 2)):
        paths = [f"../Data/Images/{p:03d}/{kind}/{n:02d}.jpg" for p in range(1, 7) for n in range(1, count + 1)]
        rows = "".join(f"{number} {path}\n" for number, path in enumerate(paths, 1))
        (root / "Protocol" / f"Pair_list_{letter}.txt").write_text(rows)
    for kind, same, diff in (("FP", "1,1\n6,4\n", "1,5\n6,2\n"), ("FF", "1,2\n5,7\n", "1,5\n6,12\n")):
        for split in range(1, 11):
            folder = root / "Protocol" / "Split" / kind / f"{split:02d}"
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text(same)
            (folder / "diff.txt").write_text(diff)
    return root


def test_cfp_is_measured_as_two_benchmarks_and_packed_as_one_of_them(ten_folds: Path, model: Path) -> None:
    write_cfp(Path("cfp-dataset"), ten_folds)
    done("evaluate", model, "cfp-dataset")
    found = results()
    assert [result["benchmark"] for result in found] == ["cfp_fp", "cfp_ff"]
    assert [result["counts"]["pairs"] for result in found] == [40, 40]
    assert "name the file after one, as cfp_fp.bin" in refused("pack", "cfp-dataset", "cfp.bin")
    done("pack", "cfp-dataset", "cfp_ff.bin")
    done("evaluate", model, "cfp_ff.bin", "--out", "pack")
    assert results("pack") == found[1:]


# ---------------------------------------------------------------------------------------------- made-up people

SET = ["--identities", "2", "--images-per-identity", "4", "--seed", "1", "--workers", "1"]


@pytest.fixture
def previews(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Previews are noted, not drawn."""
    noted: list[Any] = []

    def write_preview(path: Path, seed: int, variation: Variation, first: int) -> list[Path]:
        noted.append((path, seed, variation, first))
        return [path, path.with_suffix(".txt")]

    module = types.ModuleType("preview")
    module.write_preview = write_preview  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "elasticface.data.synthetic.preview", module)
    return noted


def test_synthesize_writes_a_set_to_train_on_and_leaves_a_whole_one_alone() -> None:
    out = done("synthesize", "faces", *SET)
    assert "2 people, 8 images" in out
    assert out.endswith("faces\nfaces/metadata.csv\nfaces/synthetic.json\n")
    assert all(Path(line).exists() for line in out.splitlines()[-3:])
    before = content(Path("faces"))
    assert "nothing was changed" in done("synthesize", "faces", *SET)
    assert content(Path("faces")) == before
    assert "identities 2 -> 3" in refused("synthesize", "faces", *SET, "--identities", "3")
    done("train", "faces", "--out", "run", *SMALL, "--max-steps", "1")


def test_training_on_a_description_needs_no_folder_and_can_be_resumed() -> None:
    faces = "synthetic:identities=2,images=4,seed=1"
    done("train", faces, "--out", "run", *SMALL, "--max-steps", "1", "--workers", "1")
    assert json.loads(Path("run/environment.json").read_text())["data"] == faces
    done("train", faces, "--out", "run", "--resume", "--max-steps", "2")
    done("train", faces, "--out", "unbroken", *SMALL, "--max-steps", "2")
    assert Path("run/model/model.safetensors").read_bytes() == Path("unbroken/model/model.safetensors").read_bytes()


def test_a_preview_comes_alone_or_after_the_set(previews: list[Any]) -> None:
    options = ["--heterogeneity", "1", "--first", "7", "--appearance", "frozen", "--seed", "3"]
    assert done("synthesize", "--preview", "sheet.png", *options) == "sheet.png\nsheet.txt\n"
    assert previews == [(Path("sheet.png"), 3, Variation(1.0, "frozen"), 7)]
    assert not list(Path.cwd().iterdir())
    out = done("synthesize", "faces", *SET, "--preview", "faces.png")
    assert out.endswith("faces/synthetic.json\nfaces.png\nfaces.txt\n")
    assert previews[1:] == [(Path("faces.png"), 1, Variation(), 0)]


def test_a_refused_set_has_no_preview(previews: list[Any], people: Path) -> None:
    refused("synthesize", people, *SET, "--preview", "faces.png")
    refused("synthesize", "out", *SET[2:], "--preview", "faces.png")
    assert previews == []


# ---------------------------------------------------------------------------------------------- refused: arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "invalid choice: 'trian'"),
        ("--nope", "--nope"),
        ("synthesize", "needs OUT, a folder for the faces, or --preview FILE.png, or both"),
        ("synthesize out", "synthesize OUT needs --identities and --images-per-identity"),
        ("synthesize out --identities 3", "synthesize OUT needs --identities and --images-per-identity"),
        ("train", "data"),
        ("train FACES", "out"),
        ("quickstart more", "more"),
        ("quickstart --seed -1", "seed must be at least 0, got -1"),
        ("quickstart --workers 0", "workers must be 1 to 256, got 0"),
        ("quickstart --out FACES", "holds something already; give another folder with --out"),
        ("align", "photos"),
        ("align FACES", "out"),
        ("align FACES out", "landmarks"),
        ("split FACES out", "people"),
        ("evaluate", "model"),
        ("evaluate FACES", "benchmarks"),
        ("synthesize out --identities many --images-per-identity 4", "identities"),
        ("synthesize out --identities -3 --images-per-identity 4", "identities must be 1 to 1,000,000, got -3"),
        ("synthesize out --identities 3 --images-per-identity 0", "images of each identity must be 1 to 10,000, got 0"),
        ("synthesize out --identities 3 --images-per-identity 99999999999999999999", "must be 1 to 10,000, got 999999"),
        ("synthesize out --identities 3 --images-per-identity 4 --seed -1", "seed must be 0 to"),
        ("synthesize out --identities 3 --images-per-identity 4 --first 999999", "first and identities together must"),
        ("synthesize out --identities 3 --images-per-identity 4 --heterogeneity 3", "heterogeneity must be 0 to 2"),
        ("synthesize out --identities 3 --images-per-identity 4 --heterogeneity nan", "heterogeneity"),
        ("synthesize out --identities 3 --images-per-identity 4 --appearance odd", "appearance"),
        ("synthesize out --identities 3 --images-per-identity 4 --workers 0", "workers must be 1 to 256, got 0"),
        (
            "synthesize out --identities 3 --images-per-identity 4 --preview sheet.gif",
            "sheet.gif: not the name of a pic",
        ),
        (
            "synthesize FACES --identities 3 --images-per-identity 4",
            "holds something that is no set of synthetic faces",
        ),
        ("synthesize --preview FACES", "not the name of a picture; give a file that ends in .png or .jpg"),
        ("synthesize --preview sheet.png --first -1", "first must be 0 to 999,999, got -1"),
        ("train synthetic:identities=3 --out run", "synthetic:identities=3: images is missing"),
        (
            "train synthetic:identities=3,images=4,sead=1 --out run",
            "no setting 'sead'; synthetic faces are synthetic:id",
        ),
        ("train synthetic:identities=1,images=4 --out run", "training needs at least 2"),
        ("train FACES --out run --nope 3", "--nope"),
        ("train FACES --out run more", "more"),
        ("train FACES --out run --loss none", "unknown loss 'none'"),
        ("train FACES --out run --backbone none", "unknown backbone 'none'"),
        ("train FACES --out run --backbone mobilefacenet --dropout 0.4", "dropout"),
        ("train FACES --out run --backbone iresnet18 --dropout 2", "dropout"),
        ("train FACES --out run --config none", "no recipe; there are casia-iresnet50"),
        ("train FACES --out run --config", "--config"),
        ("train FACES --out run --batch-size -4", "batch_size must be at least 1, got -4"),
        ("train FACES --out run --batch-size=-4", "batch_size must be at least 1, got -4"),
        ("train FACES --out run --batch-size many", "batch_size"),
        ("train FACES --out run --batch-size 1.5", "batch_size"),
        ("train FACES --out run --lr fast", "lr"),
        ("train FACES --out run --lr 0", "lr must be above 0"),
        ("train FACES --out run --lr nan", "lr"),
        ("train FACES --out run --workers -1", "workers must be at least 0"),
        ("train FACES --out run --milestones [3,x]", "milestones"),
        ("train FACES --out run --milestones [3,2]", "milestones must be in rising order"),
        ("train FACES --out run --order sideways", "order"),
        ("train FACES --out run --sync-batchnorm=perhaps", "sync-batchnorm"),
        ("train FACES --out run --max-steps 0", "max_steps must be at least 1"),
        ("train FACES --out run --m=-1", "m is out of range"),
        ("train FACES --out run --loss arcface --std 0.1", "std"),
        ("train FACES --out run --device abacus", "no device 'abacus' here; there is cpu"),
        ("train FACES --out run --device cpu --precision fp16", "precision fp16 needs a GPU"),
        ("train FACES --out run --precision 8", "precision"),
        ("train FACES --out run --validate absent", "absent: no such folder or tar"),
        ("evaluate absent FACES", "absent: no such model"),
        ("evaluate FACES FACES", "not a model folder"),
        ("evaluate MODEL absent", "absent: no such folder or tar"),
        ("evaluate MODEL FACES absent", "absent: no such folder or tar"),
        ("evaluate MODEL FACES --device abacus", "no device 'abacus'"),
        ("evaluate MODEL FACES --backbone tiny", "says itself what it is"),
        ("evaluate MODEL FACES --mean [0.5]", "says itself what it is"),
        ("evaluate MODEL FACES --channels YUV", "channels"),
        ("evaluate MODEL FACES --pairs absent.txt", "absent.txt: cannot be read"),
        ("evaluate MODEL FACES --landmarks absent.csv", "absent.csv: cannot be read"),
        ("evaluate MODEL absent.bin", "absent.bin: cannot be read: No such file"),
        ("evaluate MODEL FACES FACES", "faces: is given twice"),
        ("evaluate MODEL FACES --baseline absent", "absent"),
        ("compare", "results"),
        ("compare absent", "absent: not there; give a folder of results"),
        ("compare FACES", "results.json: not there; give a folder of results"),
        ("compare FACES FACES", "faces: is given twice"),
        ("compare FACES --draws 9", "--draws must be 100 to 100,000, not 9"),
        ("compare FACES --seed -1", "--seed must be 0 or more, not -1"),
        ("compare FACES --out /dev/null/x", "cannot be written"),
        ("pack", "dir"),
        ("pack FACES", "out"),
        ("pack absent out.bin", "absent: no such folder or tar"),
        ("pack FACES out.pkl", "out.pkl: a pack's name ends in .bin"),
        ("pack FACES /dev/null/out.bin", "cannot be written"),
        ("pack FACES out.bin --size 0", "--size must be 1 to 4096, not 0"),
        ("pack FACES out.bin --pairs absent.txt", "absent.txt: cannot be read"),
        ("align absent out --landmarks five.csv", "absent: cannot be read"),
        ("align FACES out --landmarks absent.csv", "absent.csv: cannot be read"),
        ("split absent out --people 2", "absent"),
        ("split FACES out --people 5 --pairs 20", "people must be at least 2 and leave at least 2"),
        ("split FACES out --people 2 --pairs 7", "pairs must be a multiple of 20"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    places = {"FACES": people, "MODEL": model}
    assert message in refused(*(places.get(word, word) for word in arguments.split()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none_is_refused(people: Path, model: Path) -> None:
    assert "no device 'cuda' here; there is cpu" in refused("train", people, "--out", "run", "--device", "cuda")
    assert "no device 'cuda' here" in refused("evaluate", model, people, "--device", "cuda")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"losss: arcface\n", "no setting 'losss'"),
        (b"loss: none\n", "unknown loss 'none'"),
        (b"batch_size: many\n", "batch_size"),
        (b"batch-size: 8\n", "no setting 'batch-size'"),
        (b"loss: [arc\n", "settings.yaml: cannot be read"),
        (b"- loss\n", "settings.yaml: not a list of settings"),
        (b"", "settings.yaml: not a list of settings"),
        (b"\xff\xfe\x00", "settings.yaml: cannot be read"),
        (b"lr: !!python/object/apply:os.system ['touch ran']\n", "settings.yaml: cannot be read"),
    ],
)
def test_a_config_that_is_none_is_refused_by_name(content: bytes, message: str, people: Path, here: Path) -> None:
    (here / "settings.yaml").write_bytes(content)
    assert message in refused("train", people, "--out", "run", *SMALL, "--config", "settings.yaml")


# ---------------------------------------------------------------------------------------------- refused: data


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


def test_landmarks_of_four_columns_are_refused_with_their_row(people: Path, model: Path, here: Path) -> None:
    write_landmarks(here / "header.csv", ["person_00/person_00_0001.png"], columns=4)
    assert "header.csv, row 1" in refused("align", people, "out", "--landmarks", "header.csv")
    (here / "four.csv").write_text(",".join(COLUMNS) + "\nperson_00/person_00_0001.png,0.9,1,2\n")
    assert "four.csv, row 2: 4 columns" in refused("align", people, "out", "--landmarks", "four.csv")
    assert "four.csv, row 2: 4 columns" in refused("evaluate", model, people, "--landmarks", "four.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("person_00\t1\t77", "pairs.txt, row 3: no photo person_00/person_00_0077"),
        ("person_00\t1", "pairs.txt, row 3: neither"),
        ("person_00\t1\t3", "pairs.txt: only genuine pairs"),
    ],
)
def test_wrong_pairs_are_refused_with_their_row(row: str, message: str, people: Path, model: Path, here: Path) -> None:
    (here / "pairs.txt").write_text(f"2\t1\nperson_00\t1\t2\n{row}\n")
    assert message in refused("evaluate", model, people, "--pairs", "pairs.txt")


def test_photos_that_are_not_aligned_are_refused_before_anything_is_written(model: Path, here: Path) -> None:
    write_pairs(write_people(here / "large", 3, 3, size=224), 3, 3)
    code, out, err = run("evaluate", model, "large", "--out", "results")
    assert (code, out) == (2, "")
    assert "224x224 is no aligned face of 112x112" in " ".join(err.split())
    assert not Path("results").exists()


# ---------------------------------------------------------------------------------------------- refused: places


def test_an_output_folder_in_use_is_refused(people: Path, here: Path) -> None:
    (here / "used").mkdir()
    (here / "used" / "notes.txt").write_text("mine")
    write_landmarks(here / "five.csv", ["person_00/person_00_0001.png"])
    assert "go on with it by --resume" in refused("train", people, "--out", "used", *SMALL)
    assert "holds something already" in refused("align", people, "used", "--landmarks", "five.csv")
    assert "holds something already" in refused("split", people, "used", "--people", "2", "--pairs", "20")


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
def test_an_output_in_a_files_place_is_refused(place: str, people: Path, model: Path, here: Path) -> None:
    (here / "file").write_text("mine")
    write_landmarks(here / "five.csv", ["person_00/person_00_0001.png"])
    assert place in refused("quickstart", "--out", place)
    assert place in refused("train", people, "--out", place, *SMALL)
    assert place in refused("evaluate", model, people, "--out", place)
    assert place in refused("align", people, place, "--landmarks", "five.csv")
    assert place in refused("synthesize", place, "--identities", "2", "--images-per-identity", "2")
    assert place in refused("split", people, place, "--people", "2", "--pairs", "20")


def test_a_folder_that_may_not_be_written_is_refused(
    people: Path, model: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, mkdir = here / "locked", Path.mkdir
    locked.mkdir()

    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        if path.is_relative_to(locked):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere, so the answer is made up
    assert "locked/run: cannot be written: Permission denied" in refused("train", people, "--out", "locked/run", *SMALL)
    assert "locked: cannot be written: Permission denied" in refused("evaluate", model, people, "--out", "locked")


@pytest.mark.parametrize("name", ["results.json", "report.html"])
def test_a_folder_where_a_result_belongs_is_refused(people: Path, model: Path, here: Path, name: str) -> None:
    (here / "out" / name).mkdir(parents=True)
    code, _, err = run("evaluate", model, people, "--out", "out")
    assert code == 2
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("elasticface: ")
    assert name in err.splitlines()[-1]


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            f"{command} --out {out}"
            for command in ("evaluate MODEL FACES", "train FACES", "compare RESULTS", "quickstart")
            for out in ("dangling", "loop", "/proc/x", LONG)
        ),
        "evaluate MODEL FACES --out dangling/below",
        "evaluate MODEL FACES --features dangling",
        f"evaluate MODEL {LONG}",
        f"evaluate {LONG} FACES",
        f"evaluate MODEL FACES --pairs={LONG}",
        f"evaluate MODEL FACES --landmarks {LONG}",
        f"evaluate MODEL FACES --baseline {LONG}",
        "evaluate MODEL loop",
        f"pack FACES {LONG}.bin",
        f"pack FACES {'x' * 249}.bin",
        f"pack FACES {LONG}/out.bin",
        "pack FACES dangling/out.bin",
        f"pack {LONG} out.bin",
        f"convert FACES {LONG}",
        f"convert FACES {LONG}/set",
        "convert FACES dangling/set",
        f"convert {LONG} set",
        f"split FACES {LONG} --people 2 --pairs 20",
        "split FACES dangling --people 2 --pairs 20",
        "split FACES /proc/x --people 2 --pairs 20",
        f"split {LONG} out --people 2",
        f"align FACES {LONG} --landmarks five.csv",
        "align FACES dangling --landmarks five.csv",
        f"align {LONG} out --landmarks five.csv",
        f"align FACES out --landmarks {LONG}",
        f"train {LONG} --out run",
        f"train FACES --out run --validate {LONG}",
        f"train FACES --out run --config {LONG}",
        f"train FACES --out {LONG} --resume",
        f"compare {LONG}",
        f"plan 1000 --json {LONG}",
        f"synthesize {LONG} --identities 2 --images-per-identity 2",
        "synthesize dangling --identities 2 --images-per-identity 2",
        f"synthesize --preview {LONG}.png",
    ],
    ids=lambda arguments: arguments.replace(LONG, "LONG").replace("x" * 249, "LONGISH"),
)
def test_a_path_that_cannot_be_is_refused_in_one_line(arguments: str, people: Path, model: Path, here: Path) -> None:
    (here / "dangling").symlink_to("/nonexistent/folder")
    (here / "loop").symlink_to("loop")
    write_landmarks(here / "five.csv", ["person_00/person_00_0001.png"])
    (here / "results").mkdir()
    places = {"FACES": people, "MODEL": model, "RESULTS": here / "results"}
    message = refused(*(places.get(word, word) for word in arguments.split()))
    assert len(message) < 1000


def test_an_error_of_the_system_that_no_given_path_has_is_not_taken_for_wrong_input(
    people: Path, model: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: OSError) -> None:
        def broken(*_: object) -> NoReturn:
            raise error

        monkeypatch.setattr("elasticface.cli.evaluate.run", broken)

    for error in (
        FileNotFoundError(errno.ENOENT, "No such file", "/usr/lib/ours.html"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        OSError(errno.EIO, "Input/output error", str(people)),
        OSError("of no kind"),
    ):
        fail(error)
        with pytest.raises(OSError, match=str(error.args[-1])):
            main.main(["evaluate", str(model), str(people)])
    fail(FileNotFoundError(errno.ENOENT, "No such file", str(people / "x.png")))
    assert f"{people / 'x.png'}: No such file; give another path" in refused("evaluate", model, people)


def test_resuming_into_another_shape_is_refused(trained: Path, here: Path) -> None:
    shutil.copytree(trained, "run")
    write_people(here / "three", 3, 5)
    before = content(Path("run"))
    code, out, err = run("train", "three", "--out", "run", "--resume")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "head.weight is [6, 8], [3, 8] is needed" in err
    after = content(Path("run"))
    assert before.keys() == after.keys()
    for name in before.keys() - {"config.yaml", "environment.json"}:
        assert before[name] == after[name], name
    assert read_config(trained / "config.yaml") == read_config(Path("run/config.yaml"))


def test_resuming_with_other_settings_is_refused(people: Path, trained: Path) -> None:
    shutil.copytree(trained, "run")
    assert "lr 0.1 -> 0.2" in refused("train", people, "--out", "run", "--resume", "--lr", "0.2")


# ---------------------------------------------------------------------------------------------- stopped


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(people: Path) -> None:
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
    way_on = f"elasticface train {people} --out run --resume"
    assert line.endswith(f"go on with: {way_on}")
    (checkpoint,) = sorted(Path("run/checkpoints").iterdir())[-1:]
    assert str(checkpoint) in line
    steps = int(checkpoint.name.removeprefix("step-"))
    done(*way_on.split()[1:], "--max-steps", str(steps + 1))
    assert Path("run/model/model.json").exists()


def test_a_full_disk_is_one_line_and_no_traceback(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = files.write_bytes

    def full(path: Path, data: bytes, sync: bool = True) -> None:
        if path.name == "environment.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_bytes(path, data, sync)

    monkeypatch.setattr(files, "write_bytes", full)
    code, out, err = run("train", people, "--out", "run", *SMALL)
    assert (code, out) == (1, "")
    wanted = "run/environment.json: No space left on device; make room and start it again; what goes on has --resume"
    assert err.splitlines()[-1] == f"elasticface: {wanted}"


# ---------------------------------------------------------------------------------------------- large benchmarks


def test_ijb_and_megaface_are_evaluated_beside_pairs_and_go_on_where_they_were(people: Path, model: Path) -> None:
    write_ijb(Path("IJBC"), subjects=4)
    write_megaface(Path("megaface"), people=3, distractors=10, pictures=True)
    out = done("evaluate", model, people, "IJBC", "megaface", "--out", "results")
    assert "IJB 1:1 verification: TAR at FAR, nearest" in out
    found = json.loads(Path("results/results.json").read_text())["results"]
    names = ["faces", "IJB-C 1:1", "IJB-C 1:N", "MegaFace", "MegaFace (R)"]
    assert [result["benchmark"] for result in found] == names
    page = Path("results/report.html").read_text()
    assert all(f"{name}</h2>" in page for name in names)
    kept = content(Path("results/features"))
    shutil.rmtree("IJBC/loose_crop")
    Path("IJBC/loose_crop").mkdir()  # no image is looked at again
    shutil.copytree("results/features", "elsewhere")
    done("evaluate", model, "IJBC", "--out", "again", "--features", "elsewhere")
    again = json.loads(Path("again/results.json").read_text())["results"]
    assert again == [result for result in found if result["benchmark"].startswith("IJB-C")]
    assert content(Path("elsewhere")) == kept
    # Among four people a draw without an impostor pair, or without a mate in a gallery, is no wonder.
    assert all(result["intervals_by"].startswith("none, too few people") for result in again)
    assert all("stored" not in result for result in again)
    assert sorted(os.listdir("again")) == ["report.html", "results.json"]


def test_noise_of_other_images_leaves_megaface_and_is_said_on_the_terminal() -> None:
    rows = write_megaface(Path("megaface"))
    Path("megaface/megaface_noises.txt").write_text("375/37531198@N00/4174611825_0.jpg\n")
    random = np.random.default_rng(0).normal(size=(len(rows.probes) + len(rows.distractors), 8)).astype(np.float32)
    write_features(Path("features"), rows, random[: len(rows.probes)], random[len(rows.probes) :])
    code, _, err = run("evaluate", "features", "megaface", "--out", "results")
    assert code == 0
    said = "no MegaFace (R): 1 of 2 names of facescrub_noises.txt are in the list of probes; 0 of 1 names of megaface"
    assert said in " ".join(err.split())
    (found,) = json.loads(Path("results/results.json").read_text())["results"]
    assert found["benchmark"] == "MegaFace"
    assert any(note.startswith(said) for note in found["notes"])


def test_features_do_for_a_model() -> None:
    rows = write_ijb(Path("IJBC"), pictures=False)
    np.save("published.npy", np.random.default_rng(0).normal(size=(len(rows.faces), 8)).astype(np.float32))
    done("evaluate", "published.npy", "IJBC", "--no-keep-norm")
    found = json.loads(Path("results/results.json").read_text())["results"]
    assert [result["model"] for result in found] == ["published", "published"]
    assert found[0]["options"] == {"keep_norm": False, "weigh_by_detector_score": True}
    assert found[0]["protocol"].startswith("features as given, norm removed, times the detector's score;")
    np.save("short.npy", np.zeros((3, 8), np.float32))
    assert "short.npy: 3 rows where IJB-C has" in refused("evaluate", "short.npy", "IJBC")
    assert "no loose_crop in it" in refused("evaluate", small_model(), "IJBC")


def small_model() -> Path:
    FaceEncoder(backbones.create("tiny", 8), Card("small", "tiny", 8)).save(Path("small"))
    return Path("small")


def test_a_folder_of_features_does_for_a_model_on_megaface() -> None:
    rows = write_megaface(Path("megaface"))
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(len(names), 8)).astype(np.float32) for names in (rows.probes, rows.distractors)]
    write_features(Path("r100"), rows, values[0], values[1])
    done("evaluate", "r100", "megaface", "--suffix", "r100")
    found = json.loads(Path("results/results.json").read_text())["results"]
    assert [result["benchmark"] for result in found] == ["MegaFace", "MegaFace (R)"]
    assert "_other.bin" in refused("evaluate", "r100", "megaface", "--suffix", "other")
