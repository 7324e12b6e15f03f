"""Checkpoints over one process and many: what was saved is what is loaded, or it is named and left alone."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_ranks as ranks
import on_processes
import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.stateful import Stateful

from elasticface.base.errors import InputError, Stopped
from elasticface.model import checkpoint_folder
from elasticface.model.checkpoint_folder import Validation
from elasticface.training import checkpoint
from elasticface.training.guard import Outcome
from elasticface.training.state import TrainState

Outcomes = list[dict[str, Any]]

TIMEOUT = 60.0  # seconds until a group that hangs is given up


@pytest.fixture(scope="module")
def group_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a checkpoint that one process saved."""
    folder = tmp_path_factory.mktemp("groups")
    ranks.save(folder / "one", 4)
    return folder


@pytest.fixture(scope="module")
def two(group_folder: Path) -> Outcomes:
    """What two processes came to: they leave their checkpoints in the folder."""
    return on_processes.run(ranks.two, 2, group_folder, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def three(group_folder: Path, two: Outcomes) -> Outcomes:
    return on_processes.run(ranks.three, 3, group_folder, timeout=TIMEOUT)


def good(path: Path) -> dict[str, Any]:
    return {"path": str(path), "wrong": [], "warnings": []}


def test_processes_agree_on_results_and_on_errors(two: Outcomes) -> None:
    agreed = [outcome["agreed"] for outcome in two]
    assert [one.pop("own") for one in agreed] == [10, 11]
    assert agreed[0] == agreed[1]
    assert agreed[0] == {
        "first": 10,
        "first fails": "OSError: [Errno 28] full",
        "all": [10, 11],
        "one fails": "Stopped: stop",
        "one fails in its own way": "RuntimeError: Local: mine",
    }


def test_saved_by_one_process_loads_in_two_with_the_same_bits(two: Outcomes, group_folder: Path) -> None:
    assert [outcome["of one"] for outcome in two] == [good(group_folder / "one" / "step-000000004")] * 2


def test_saved_by_two_processes_loads_in_two_with_the_same_bits(two: Outcomes, group_folder: Path) -> None:
    assert [outcome["of two"] for outcome in two] == [good(group_folder / "two" / "step-000000004")] * 2


def test_saved_by_two_processes_loads_in_one_with_the_same_bits(two: Outcomes, group_folder: Path) -> None:
    assert ranks.load(group_folder / "two", 4) == good(group_folder / "two" / "step-000000004")


def test_saved_by_two_processes_loads_in_three_with_the_same_bits(three: Outcomes, group_folder: Path) -> None:
    assert [outcome["of two"] for outcome in three] == [good(group_folder / "two" / "step-000000004")] * 3


def test_fewer_classes_than_processes(three: Outcomes, group_folder: Path) -> None:
    path = group_folder / "few" / "step-000000002"
    assert [outcome["few classes"] for outcome in three] == [good(path)] * 3
    assert ranks.load(group_folder / "few", 2, classes=1) == good(path)


def test_no_process_returns_before_the_checkpoint_has_its_place(two: Outcomes, group_folder: Path) -> None:
    assert [outcome["saved"] for outcome in two] == [str(group_folder / "two" / "step-000000004")] * 2
    assert all(outcome["seen"] for outcome in two)


def test_each_process_writes_its_own_rows_and_nothing_is_written_twice(two: Outcomes, group_folder: Path) -> None:
    path = group_folder / "two" / "step-000000004"
    metadata = FileSystemReader(path).read_metadata()
    rows = {}
    for index, stored in metadata.storage_data.items():
        if index.fqn == "state.head.weight":
            rows[stored.relative_path] = tuple(index.offset)
        elif not index.fqn.endswith("head.weight.momentum_buffer"):
            assert stored.relative_path == "__0_0.distcp", index.fqn
    assert rows == {"__0_0.distcp": (0, 0), "__1_0.distcp": (51, 0)}
    one = group_folder / "one" / "step-000000004"
    assert sum(size(path).values()) < 1.2 * sum(size(one).values())


def size(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in path.iterdir()}


def test_every_file_has_its_checksum(two: Outcomes, group_folder: Path) -> None:
    path = group_folder / "two" / "step-000000004"
    checksums = json.loads((path / "checksums.json").read_text())
    assert checksums.keys() == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    assert set(os.listdir(path)) == {"checksums.json", *checksums}


@pytest.mark.parametrize("at", [0, 1])
def test_a_process_without_room_stops_all_and_leaves_nothing(two: Outcomes, group_folder: Path, at: int) -> None:
    messages = {outcome[f"no room at {at}"] for outcome in two}
    faults = group_folder / "faults"
    assert messages == {
        f"Stopped: {faults / 'step-000000006'}: the checkpoint cannot be written: File too large; "
        f"{faults / 'step-000000004'} is as it was: once this is mended, resume from it with --resume"
    }
    assert [outcome[f"left by {at}"] for outcome in two] == [["step-000000002", "step-000000004"]] * 2


def test_all_processes_go_back_from_a_damaged_checkpoint_and_one_says_so(two: Outcomes, group_folder: Path) -> None:
    first, second = (outcome["after damage"] for outcome in two)
    (warning,) = first.pop("warnings")
    assert "step-000000004: __1_0.distcp is damaged" in warning
    assert second.pop("warnings") == []
    assert first == second == {"path": str(group_folder / "faults" / "step-000000002"), "wrong": []}


def test_all_processes_refuse_another_number_of_classes(two: Outcomes) -> None:
    assert len({outcome["another model"] for outcome in two}) == 1
    assert two[0]["another model"].startswith("InputError: ")
    assert "head.weight is [101, 8], [99, 8] is needed" in two[0]["another model"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a shard cut short": ("__0_0.distcp", cut),
    "a shard with one bit flipped": ("__0_0.distcp", flip),
    "an empty shard": ("__0_0.distcp", lambda path: path.write_bytes(b"")),
    "no shard": ("__0_0.distcp", Path.unlink),
    "metadata cut short": (".metadata", cut),
    "metadata with one bit flipped": (".metadata", flip),
    "no metadata": (".metadata", Path.unlink),
    "another figure": ("validation.json", lambda path: path.write_text('{"benchmark": "x", "accuracy": 1.0}')),
    "checksums cut short": ("checksums.json", lambda path: path.write_bytes(path.read_bytes()[:60])),
    "no checksums": ("checksums.json", Path.unlink),
    "checksums of nothing": ("checksums.json", lambda path: path.write_text("{}")),
    "checksums that are a list": ("checksums.json", lambda path: path.write_text("[]")),
    "checksums of files elsewhere": (
        "checksums.json",
        lambda path: path.write_text('{".metadata": "x", "../step-000000002/.metadata": "x"}'),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(damage: str, tmp_path: Path) -> None:
    for step in (2, 4):
        checkpoint_folder.add_validation(ranks.save(tmp_path, step), Validation("lfw", 0.5))
    name, change = DAMAGES[damage]
    change(tmp_path / "step-000000004" / name)
    outcome = ranks.load(tmp_path, 2)
    (warning,) = outcome.pop("warnings")
    assert warning.startswith(f"{tmp_path / 'step-000000004'}: ")
    assert name in warning
    assert outcome == {"path": str(tmp_path / "step-000000002"), "wrong": []}


def test_half_written_folders_and_strangers_are_not_followed(tmp_path: Path) -> None:
    ranks.save(tmp_path, 2)
    (tmp_path / "step-000000008").mkdir()  # a copy that had only begun
    (tmp_path / ".step-000000010.0123abcd.tmp").mkdir()
    (tmp_path / "step-12").mkdir()
    (tmp_path / "step-000000012").write_text("a file")
    outcome = ranks.load(tmp_path, 2)
    assert outcome["path"] == str(tmp_path / "step-000000002")
    assert outcome["warnings"] == [
        f"{tmp_path / 'step-000000008'}: checksums.json is missing; going back to the checkpoint before it"
    ]


def test_none_where_all_are_damaged_or_there_is_none(tmp_path: Path) -> None:
    assert ranks.load(tmp_path / "nowhere", 0)["path"] == "None"
    cut(ranks.save(tmp_path, 2) / ".metadata")
    assert checkpoint.newest(tmp_path, lambda _: None) is None


def test_what_was_gone_back_from_is_removed_once_the_run_has_saved_again(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        ranks.save(tmp_path, step, keep=2)
    cut(tmp_path / "step-000000006" / ".metadata")
    ranks.save(tmp_path, 5, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step-000000004", "step-000000005"]
    cut(tmp_path / "step-000000005" / ".metadata")
    ranks.save(tmp_path, 5, keep=1)  # takes the place of the damaged one
    assert ranks.load(tmp_path, 5) == good(tmp_path / "step-000000005")


def test_a_checkpoint_that_is_a_link_is_used_and_what_it_leads_to_left_alone(tmp_path: Path) -> None:
    ranks.save(tmp_path / "run", 2).rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "step-000000002").symlink_to(tmp_path / "elsewhere")
    assert ranks.load(tmp_path / "run", 2) == good(tmp_path / "run" / "step-000000002")
    ranks.save(tmp_path / "run", 4, keep=1)
    assert os.listdir(tmp_path / "run") == ["step-000000004"]
    assert (tmp_path / "elsewhere" / ".metadata").exists()


def test_a_disk_without_room_stops_with_one_line_and_older_checkpoints_stay(tmp_path: Path) -> None:
    ranks.save(tmp_path, 2, keep=1)
    for room in (0, 500, 4000):  # cut within the first file, and within its buffer
        with ranks.files_at_most(room), pytest.raises(Stopped, match="cannot be written: File too large") as stopped:
            ranks.save(tmp_path, 4, keep=1)
        assert stopped.value.exit_code == 1
        assert len(str(stopped.value).splitlines()) == 1
        assert os.listdir(tmp_path) == ["step-000000002"]
    ranks.save(tmp_path, 4, keep=1)
    assert ranks.load(tmp_path, 4) == good(tmp_path / "step-000000004")


def test_a_loaded_state_makes_the_very_steps_of_the_saved_one(tmp_path: Path) -> None:
    def step(state: TrainState) -> None:
        embeddings = state.backbone(torch.linspace(-1, 1, 40).view(5, 8))
        loss = state.head(embeddings, torch.arange(5))
        loss.backward()
        state.update(Outcome(loss.detach(), torch.zeros(()), torch.arange(5), torch.ones(5), 5), torch.ones(()))

    saved, loaded = ranks.trained(3), ranks.fresh()
    for _ in range(3):
        step(saved)
    step(loaded)  # what it has done before is gone
    checkpoint.load(checkpoint.start(tmp_path, saved, saved.step, 1).finish(), loaded)
    for state in (saved, loaded):
        step(state)
    assert (loaded.step, loaded.loss_count) == (saved.step, saved.loss_count) == (7, 4)
    one, other = saved.state_dict(), loaded.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_of_more_layers_is_refused(tmp_path: Path) -> None:
    class Layers(Stateful):
        def __init__(self, number: int) -> None:
            self.tensors = {f"{layer}.weight": torch.zeros(2, 2) for layer in range(number)}

        def state_dict(self) -> dict[str, torch.Tensor]:
            return self.tensors

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            raise AssertionError("nothing was to be loaded")

    path = checkpoint.start(tmp_path, Layers(2), 1, 1).finish()
    with pytest.raises(InputError, match=r"1\.weight is \[2, 2\], nothing is needed"):
        checkpoint.load(path, Layers(1))


def test_checksums_need_no_memory_of_the_files_size(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(1 << 26))
    (tmp_path / ".metadata").write_bytes(b"")
    checkpoint_folder.write_checksums(tmp_path, {}, {})
    tracemalloc.start()
    assert checkpoint_folder.damage(tmp_path) is None
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def save_with(folder: Path, step: int, figure: Validation | None, keep: int = 2) -> list[int]:
    """Steps of the checkpoints that are there after one more, which is validated once it is saved."""
    path = folder / f"step-{step:09d}"
    path.mkdir(parents=True)
    (path / ".metadata").write_bytes(b"")
    checkpoint_folder.write_checksums(path, {}, {})
    checkpoint_folder.prune(folder, path, keep)
    if figure is not None:
        checkpoint_folder.add_validation(path, figure)
        checkpoint_folder.prune(folder, path, keep)
        assert checkpoint_folder.damage(path) is None
    return sorted(int(path.name.removeprefix("step-")) for path in checkpoint_folder.newest_first(folder))


def best(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "best.json").read_text())
    return content


def test_the_best_checkpoint_stays_until_there_is_a_better_one(tmp_path: Path) -> None:
    figures = {1: None, 2: 0.8, 3: None, 4: 0.9, 5: 0.7, 6: 0.9, 7: None, 8: 0.9001, 9: None, 10: None, 11: None}
    there = {}
    for step, accuracy in figures.items():
        there[step] = save_with(tmp_path, step, None if accuracy is None else Validation("lfw", accuracy))
        if step == 7:
            assert best(tmp_path) == {"checkpoint": "step-000000004", "step": 4, "benchmark": "lfw", "accuracy": 0.9}
    assert there == {
        1: [1],
        2: [1, 2],
        3: [2, 3],
        4: [3, 4],
        5: [4, 5],
        6: [4, 5, 6],  # of two that are as good the earlier
        7: [4, 6, 7],
        8: [7, 8],
        9: [8, 9],
        10: [8, 9, 10],
        11: [8, 10, 11],
    }
    assert best(tmp_path) == {"checkpoint": "step-000000008", "step": 8, "benchmark": "lfw", "accuracy": 0.9001}


def test_figures_of_another_benchmark_do_not_compete(tmp_path: Path) -> None:
    save_with(tmp_path, 1, Validation("lfw", 0.99), keep=1)
    assert save_with(tmp_path, 2, None, keep=1) == [1, 2]
    assert save_with(tmp_path, 3, Validation("ijb", 0.5), keep=1) == [3]
    assert best(tmp_path) == {"checkpoint": "step-000000003", "step": 3, "benchmark": "ijb", "accuracy": 0.5}


def test_which_is_the_best_is_known_without_the_file_that_says_so(tmp_path: Path) -> None:
    # A kill may come between a checkpoint and best.json: the figure is in the checkpoint.
    save_with(tmp_path, 1, Validation("lfw", 0.9), keep=1)
    (tmp_path / "best.json").unlink()
    assert save_with(tmp_path, 2, Validation("lfw", 0.8), keep=1) == [1, 2]
    assert best(tmp_path)["step"] == 1
