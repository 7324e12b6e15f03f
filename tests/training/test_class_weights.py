"""Class weights: what they are by number and by file, what is refused, and runs with them."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch
from command_line import SMALL, refused

from elasticface import heads
from elasticface.base.errors import InputError
from elasticface.training.class_weights import class_weights
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.processes import World
from elasticface.training.run_files import read_metrics
from elasticface.training.state import TrainState
from elasticface.training.step import Batch, forward_backward

NAMES, COUNTS = ("ann", "bo", "Zoë", "nobody"), (1, 4, 20, 0)


class Source:
    num_classes, class_names = len(NAMES), NAMES
    labels = np.repeat(np.arange(len(NAMES)), COUNTS)

    def __len__(self) -> int:
        return len(self.labels)


def weights(how: str | None) -> list[float]:
    found = class_weights(TrainConfig(class_weights=how), Source())  # type: ignore[arg-type]
    assert found is not None
    assert found.dtype == torch.float64
    assert float(found.numpy() @ COUNTS) == pytest.approx(sum(COUNTS))  # 1 in the mean over the images
    return found.tolist()[:3]


def in_proportion(found: list[float], expected: list[float]) -> None:
    assert np.array(found) / found[0] == pytest.approx(np.array(expected) / expected[0], rel=1e-12)


def test_without_the_setting_there_are_none() -> None:
    assert class_weights(TrainConfig(), Source()) is None  # type: ignore[arg-type]


def test_balanced_identities_count_as_much_as_one_another() -> None:
    in_proportion(weights("balanced"), [1, 1 / 4, 1 / 20])


@pytest.mark.parametrize("beta", [0.9, 0.999])
def test_effective_numbers_are_those_of_the_paper(beta: float) -> None:
    in_proportion(weights(f"effective:{beta}"), [(1 - beta) / (1 - beta**count) for count in COUNTS[:3]])


def test_effective_numbers_go_from_equal_to_balanced() -> None:
    assert np.ptp(weights("effective:1e-9")) < 1e-8
    assert weights("effective:0.9999999") == pytest.approx(weights("balanced"), rel=1e-5)


@pytest.mark.parametrize("header", ["", "name,weight\n", "\ufeffname,weight\r\n"])
def test_a_file_gives_weights_by_name_and_the_others_are_1(header: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(f"{header}bo,2.5\n{unicodedata.normalize('NFD', 'Zoë')}, 1e-1\n\n", "utf-8", newline="")
    in_proportion(weights(str(path)), [1, 2.5, 0.1])
    assert "does not list 2 of 4 identities; these weigh 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ann,2\nanne,3\n", "row 2: there is no identity 'anne' in the data"),
        (b"ann,2\nbo\n", "row 2: 1 column where name,weight are needed"),
        (b"ann,2,3\n", "row 1: 3 columns where name,weight are needed"),
        (b"ann,2\nbo,1\nann,2\n", "row 3: ann is listed twice"),
        (b"ann,0\n", "row 1: weight is '0'; it must be a number above 0"),
        (b"ann,-1\n", "row 1: weight is '-1'; it must be a number above 0"),
        (b"ann,inf\n", "row 1: weight is 'inf'; it must be a number above 0"),
        (b"ann,much\n", "row 1: weight is 'much'; it must be a number above 0"),
        (b"ann,1e-7\n", "weights from 1e-07 to 1; a factor of more than 1e+06 between two is refused"),
        (b"ann,\xff\n", "no CSV in UTF-8"),
        (b"ann," + b"1" * 200_000 + b"\n", "no CSV in UTF-8"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_row(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        weights(str(tmp_path / "weights.csv"))
    assert message in str(error.value)
    assert str(tmp_path / "weights.csv") in str(error.value)


@pytest.mark.parametrize("how", ["effective:1", "effective:0", "effective:", "effective:nan", "effective:much"])
def test_a_share_out_of_its_range_is_refused(how: str) -> None:
    with pytest.raises(InputError, match=f"class_weights {how}: B must be above 0 and below 1, as in effective:0.999"):
        weights(how)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("absent.csv", "absent.csv: cannot be read: No such file or directory; class_weights is balanced, effective:B"),
        ("", "--class-weights must be text, got ''"),
    ],
)
def test_what_gives_no_weights_is_refused_before_anything_is_written(
    given: str, message: str, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused("train", people, "--out", "run", *SMALL, "--max-steps", "1", f"--class-weights={given}")
    assert message in told


def test_a_step_has_the_weighted_mean_however_many_parts_it_has() -> None:
    images = torch.linspace(-1, 1, 84, dtype=torch.float64).view(7, 3, 2, 2)
    labels, weight = torch.arange(7) % 5, torch.tensor([1.0, 30.0, 2.0, 0.1, 5.0, 1.0, 9.0], dtype=torch.float64)
    found = []
    for parts in (1, 3):
        torch.manual_seed(0)
        backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)).double()
        config = replace(small_run.SMALL, precision="64", accumulate=parts)
        state = TrainState(config, World(torch.device("cpu")), backbone, heads.CosFace(5, 4).double(), per_epoch=1)
        outcome = forward_backward(state, Batch(images, labels, torch.arange(7), 7, (7,), weight), config)
        loss, gradient = outcome.loss, backbone[1].weight.grad.clone()
        losses = [state.head(backbone(images[row : row + 1]), labels[row : row + 1]) for row in range(7)]
        expected = (weight * torch.stack(losses)).sum() / weight.sum()
        assert float(loss) == pytest.approx(expected.item(), rel=1e-12)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, backbone[1].weight)[0], rtol=1e-11, atol=0)
        found.append(gradient)
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-15)


def test_a_run_is_weighted_and_resumes_with_its_weights(people: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("person_00,100\nperson_01,0.01\n")
    plain = replace(small_run.SMALL, max_steps=4, epochs=2)
    config = replace(plain, class_weights=str(tmp_path / "weights.csv"))
    train(people, tmp_path / "whole", config)
    train(people, tmp_path / "run", replace(config, max_steps=2))
    train(people, tmp_path / "run", config, resume=True)
    one, other = ([line["loss"] for line in read_metrics(tmp_path / run)] for run in ("whole", "run"))
    assert one == other
    train(people, tmp_path / "plain", plain)
    assert [line["loss"] for line in read_metrics(tmp_path / "plain")] != one
    with pytest.raises(InputError, match=r"class_weights .*weights.csv -> None"):
        train(people, tmp_path / "run", plain, resume=True)


def test_a_file_of_weights_that_has_changed_is_refused_until_the_run_is_told_to_take_it(
    people: Path, tmp_path: Path
) -> None:
    path, run = tmp_path / "weights.csv", tmp_path / "run"
    path.write_text("person_00,100\n")
    config = replace(small_run.SMALL, max_steps=1, class_weights=str(path))
    train(people, run, config)
    path.write_text("person_00,10\n")
    with pytest.raises(InputError, match=r"other class weights than .*weights.csv has now; those are in class_weights"):
        train(people, run, replace(config, max_steps=2), resume=True)
    assert (run / "class_weights.csv").read_text() == "person_00,100\n"
    (run / "class_weights.csv").unlink()
    train(people, run, replace(config, max_steps=2), resume=True)
    assert (run / "class_weights.csv").read_text() == "person_00,10\n"
