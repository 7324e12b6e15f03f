"""`elasticface plan`: what it prints, stores and refuses."""

import json
from pathlib import Path

import pytest
from command_line import done, refused

from elasticface.training.config import TrainConfig

SMALL = "plan --backbone tiny --identities 1000 --batch 16".split()
SUB_CENTRES = [*SMALL, "--loss", "subcenter-arcface", "--centres-per-class"]


def test_batch_of_one_process_and_of_all_say_the_same() -> None:
    of_one = done(*SMALL, "--gpus", "4")
    of_all = done("plan", "--backbone", "tiny", "--identities", "1000", "--gpus", "4", "--batch-size", "64")
    assert of_one == of_all
    assert "batch 16 a process, 64 in all" in " ".join(of_one.split())


def test_json_has_what_the_tables_show(tmp_path: Path) -> None:
    out = done(*SMALL, "--gpus", "16", "--images", "25600", "--json", tmp_path / "plan.json")
    figures = json.loads((tmp_path / "plan.json").read_text())
    assert figures["config"]["batch_size"] == 256
    assert figures["steps"] == {"epoch": 100, "run": 2600}
    assert figures["sent"] == sum(item["bytes"] for item in figures["traffic"])
    always = sum(item["bytes"] for item in figures["always"])
    worst = max(sum(item["bytes"] for item in moment["items"]) for moment in figures["moments"])
    assert figures["peak"] == always + worst
    assert f"{figures['peak'] / 2**20:,.1f}" in out
    assert "100 steps an epoch, 2,600 in all" in out


def test_command_of_one_process_one_node_and_many() -> None:
    assert done(*SMALL).splitlines()[-1].startswith("elasticface train DATA --out RUN --batch-size 16 ")
    assert "torchrun --standalone --nproc-per-node 8 -m elasticface train" in done(*SMALL, "--gpus", "8")
    many = done(*SMALL, "--gpus", "16", "--loss", "elastic-arc", "--sync-batchnorm").splitlines()[-1]
    assert many.startswith("torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500")
    assert "--batch-size 256 --loss elastic-arc --backbone tiny --sync-batchnorm" in many


def test_a_config_is_read_as_train_reads_it_and_named_in_the_command(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("backbone: tiny\nbatch_size: 32\nema: 0.9\nsync_batchnorm: true\nlr: 0.2\n")
    plan = ["plan", "--identities", "1000", "--config", tmp_path / "some.yaml"]
    assert done(*plan).splitlines()[-1].endswith(f"--out RUN --config {tmp_path / 'some.yaml'} --batch-size 32")
    last = done(*plan, "--batch", "16", "--no-sync-batchnorm", "--ema", "null", "--device", "cpu").splitlines()[-1]
    assert last.endswith("--batch-size 16 --no-sync-batchnorm --ema null --device cpu")


def test_command_leaves_out_what_is_trains_default() -> None:
    last = done(*SMALL, "--epochs", str(TrainConfig().epochs)).splitlines()[-1]
    assert "--epochs" not in last


def test_says_whether_it_fits() -> None:
    assert "fits into 32 GiB" in done(*SMALL, "--memory-gib", "32")
    assert "GiB too much" in done(*SMALL, "--memory-gib", "0.001")


@pytest.mark.parametrize("backbone", ["without_parameters", "frozen"])
def test_a_backbone_that_is_not_trained_is_counted(backbone: str) -> None:
    assert "GiB" in done(*SMALL, "--backbone", f"own_parts:{backbone}", "--embedding-size", "16")


def test_times_come_with_the_speeds_alone() -> None:
    assert "images/s" not in done(*SMALL, "--images", "1000")
    out = done(*SMALL, "--images", "1000", "--tflops", "1")
    assert "images/s" in out
    assert "hours of 26 epochs" in out


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--batch", "--batch-size", "one of the two"], ["plan", "--identities", "10"]),
        (["--batch", "--batch-size", "one of the two"], [*SMALL, "--batch-size", "16"]),
        (["identities", "1 to"], ["plan", "--identities", "0", "--batch", "8"]),
        (["--gpus", "at least 1"], [*SMALL, "--gpus", "0"]),
        (["12 processes", "5 on every node"], [*SMALL, "--gpus", "12", "--gpus-per-node", "5"]),
        (
            ["backbone must be one of iresnet18, ", "got 'vit'"],
            ["plan", "--identities", "10", "--batch", "8", "--backbone", "vit"],
        ),
        (["fewer than 2 images per part"], ["plan", "--identities", "10", "--batch", "1", "--backbone", "tiny"]),
        (["fewer than 2 images per part"], [*SMALL, "--gpus", "8", "--images", "15"]),
        (["loss 'subcenter-arcface'", "at least 1, got 0"], [*SUB_CENTRES, "0"]),
        (["loss 'subcenter-arcface'", "at least 1, got -2"], [*SUB_CENTRES, "-2"]),
        (["scale must be above 0 and at most 512"], [*SMALL, "--scale", "600"]),
        (["precision fp16 needs a GPU"], [*SMALL, "--device", "cpu", "--precision", "fp16"]),
        (["sample_rate", "(0, 1]"], [*SMALL, "--sample-rate", "2"]),
        (["--memory-gib", "above 0"], [*SMALL, "--memory-gib", "0"]),
        (["--json .", "a folder"], [*SMALL, "--json", "."]),
    ],
)
def test_wrong_input_is_one_line(words: list[str], options: list[str]) -> None:
    line = refused(*options)
    assert all(word in line for word in words), line
