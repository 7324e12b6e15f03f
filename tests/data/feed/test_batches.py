"""Batches: the sampler's images in the sampler's order, whoever reads them; damaged ones are named once and skipped."""

import json
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_people
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data._utils import signal_handling

from elasticface.base.errors import InputError
from elasticface.data import open_dataset
from elasticface.data.feed.batches import DamagedItems, epoch_batches
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.data.images.decoding import DamagedImage


class Numbered:
    """``count`` images of 2×2 pixels, image i all of value i mod 256 and of person i mod 7; some are damaged."""

    num_classes, class_names = 7, tuple("abcdefg")

    def __init__(self, count: int, damaged: tuple[int, ...] = ()) -> None:
        self.count, self.damaged = count, damaged
        self.labels = np.arange(count) % 7

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        if index in self.damaged:
            raise DamagedImage(f"face-{index}.jpg: not an image")
        return np.full((2, 2, 3), index % 256, np.uint8), int(self.labels[index])


def sampler(count: int, batch: int = 8, epoch: int = 0) -> KeyedBatchSampler:
    return KeyedBatchSampler(count, batch, seed=1, epoch=epoch)


def damaged_items(folder: Path, count: int) -> DamagedItems:
    return DamagedItems(folder / "bad_items.jsonl", Numbered(count))


def listed(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "bad_items.jsonl").read_text().splitlines()]


def read(source: Numbered, folder: Path, workers: int = 0, epoch: int = 0) -> list[tuple[Tensor, Tensor]]:
    found, damaged = [], damaged_items(folder, len(source))
    for images, labels, _, bad in epoch_batches(source, sampler(len(source), epoch=epoch), workers, False):
        damaged.add(bad)
        found.append((images, labels))
    return found


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_batches_are_the_samplers_in_its_order(tmp_path: Path) -> None:
    source = Numbered(50)
    found = read(source, tmp_path)
    assert len(found) == 6
    for (images, labels), indices in zip(found, sampler(50), strict=True):
        assert images.dtype == torch.uint8
        assert images.shape == (8, 2, 2, 3)
        assert labels.dtype == torch.int64
        assert images[:, 0, 0, 0].tolist() == indices
        assert labels.tolist() == [i % 7 for i in indices]
    assert not (tmp_path / "bad_items.jsonl").exists()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_how_many_workers_read_does_not_matter(workers: int, tmp_path: Path, quiet: None) -> None:
    source = Numbered(2000, damaged=(17, 1003))
    (tmp_path / "alone").mkdir()
    (tmp_path / "helped").mkdir()
    alone, helped = read(source, tmp_path / "alone"), read(source, tmp_path / "helped", workers)
    assert len(alone) == len(helped)
    for (images, labels), (others, their_labels) in zip(alone, helped, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, their_labels)
    assert listed(tmp_path / "alone") == listed(tmp_path / "helped")


def test_workers_read_real_files_alike(tmp_path: Path) -> None:
    source = open_dataset(write_people(tmp_path / "faces", 3, 4))
    alone, helped = (list(epoch_batches(source, sampler(12, 4), workers, False)) for workers in (0, 2))
    assert len(alone) == 3
    for (images, labels, rows, bad), (others, their_labels, their_rows, _) in zip(alone, helped, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, their_labels)
        assert rows.tolist() == their_rows.tolist() == [0, 1, 2, 3]
        assert bad == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_do_not_hear_what_is_sent_to_all_processes_even_while_they_start(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = signal_handling._set_worker_signal_handlers  # from here on SIGTERM ends a worker

    def ready_and_sent() -> None:
        ready()
        os.kill(os.getpid(), number)

    monkeypatch.setattr(signal_handling, "_set_worker_signal_handlers", ready_and_sent)
    assert len(list(epoch_batches(Numbered(40), sampler(40), 2, False))) == 5


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_processes_are_the_batch_by_their_rows(world: int) -> None:
    order = list(sampler(40))
    source = Numbered(40, damaged=(order[0][1], order[2][7]))
    shares = [
        list(epoch_batches(source, KeyedBatchSampler(40, 8, seed=1, epoch=0, rank=rank, world_size=world), 0, False))
        for rank in range(world)
    ]
    for indices, parts in zip(order, zip(*shares, strict=True), strict=True):
        rows = torch.cat([part[2] for part in parts]).tolist()
        images = torch.cat([part[0] for part in parts])[:, 0, 0, 0].tolist()
        bad = [index for part in parts for index, _ in part[3]]
        assert [indices[row] for row in rows] == images
        assert sorted([*images, *bad]) == sorted(indices)
        assert set(bad) <= set(source.damaged)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_makes_its_batch_smaller_and_is_listed_once(workers: int, tmp_path: Path) -> None:
    source = Numbered(1000, damaged=(500,))
    for epoch in range(2):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = read(source, tmp_path, workers, epoch)
        assert [str(warning.message) for warning in told] == ["skipped: face-500.jpg: not an image"][epoch:]
        for (images, labels), indices in zip(found, sampler(1000, epoch=epoch), strict=True):
            good = [index for index in indices if index != 500]
            assert images[:, 0, 0, 0].tolist() == [index % 256 for index in good]
            assert labels.tolist() == [index % 7 for index in good]
        assert sum(len(labels) for _, labels in found) == 999
        assert listed(tmp_path) == [{"index": 500, "reason": "face-500.jpg: not an image"}]


def test_a_batch_of_nothing_but_damage_comes_empty(tmp_path: Path, quiet: None) -> None:
    whole = next(iter(sampler(8000)))
    found = read(Numbered(8000, damaged=tuple(whole)), tmp_path)
    assert len(found[0][1]) == len(found[0][0]) == 0
    assert found[0][1].dtype == torch.int64
    assert all(len(labels) == 8 for _, labels in found[1:])


@pytest.mark.parametrize("count", [10, 999])
def test_one_damaged_image_of_less_than_a_thousand_is_too_many(count: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^face-5\.jpg: not an image; at most 0\.1% of the images"):
        read(Numbered(count, damaged=(5,)), tmp_path)
    assert listed(tmp_path) == [{"index": 5, "reason": "face-5.jpg: not an image"}]


def test_more_than_one_in_a_thousand_is_refused_with_all_of_them_listed(tmp_path: Path, quiet: None) -> None:
    order = [index for batch in sampler(2999) for index in batch]
    bad = tuple(order[position] for position in (3, 1400, 2500))
    for name in ("two", "three"):
        (tmp_path / name).mkdir()
    read(Numbered(2999, damaged=bad[:2]), tmp_path / "two")
    with pytest.raises(InputError, match=rf"face-{bad[2]}\.jpg: .*the last of 3, all named in .*bad_items\.jsonl"):
        read(Numbered(2999, damaged=bad), tmp_path / "three")
    assert [item["index"] for item in listed(tmp_path / "three")] == list(bad)


def test_a_resumed_run_reads_back_what_was_found_before(tmp_path: Path, quiet: None) -> None:
    damaged_items(tmp_path, 2000).add([(3, "three"), (1999, "last")])
    resumed = damaged_items(tmp_path, 2000)
    assert resumed.found == {3, 1999}
    resumed.add([(3, "three")])
    assert len(listed(tmp_path)) == 2
    with pytest.raises(InputError, match=r"four .*the last of 3"):
        resumed.add([(4, "four")])
    assert [item["index"] for item in listed(tmp_path)] == [3, 1999, 4]


@pytest.mark.parametrize(
    "damaged", ['{"index": 19, "rea', "\0\0\0\n", '{"reason": "x"}\n', '{"index": "x"}\n', '{"index": 2000}\n', "[]\n"]
)
def test_damaged_lines_of_the_list_are_left_out(damaged: str, tmp_path: Path, quiet: None) -> None:
    (tmp_path / "bad_items.jsonl").write_text(f'{{"index": 3, "reason": "three"}}\n{damaged}')
    resumed = damaged_items(tmp_path, 2000)
    assert resumed.found == {3}
    resumed.add([(4, "four")])
    assert [item["index"] for item in listed(tmp_path)] == [3, 4]


def test_what_is_wrong_with_more_than_an_image_is_not_swallowed(tmp_path: Path) -> None:
    class Broken(Numbered):
        def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        read(Broken(10), tmp_path)


def test_a_run_that_was_stopped_for_damaged_images_is_stopped_again_when_it_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "bad_items.jsonl"
    with pytest.raises(InputError, match="second"):
        DamagedItems(path, Numbered(100), 0.01).add([(1, "first"), (2, "second")])
    with pytest.raises(InputError, match=r"names 2 images that cannot be read; at most 1% .*--max-damaged"):
        DamagedItems(path, Numbered(100, damaged=(1, 2)), 0.01)
    with pytest.raises(InputError, match=r"at most 0\.01% of the images may be damaged"):
        DamagedItems(path, Numbered(100, damaged=(1, 2)), 0.0001)
    assert DamagedItems(path, Numbered(100), 0.29).most == 29  # though 0.29 * 100 is less in float64
    assert DamagedItems(path, Numbered(100, damaged=(1, 2)), 0.02).found == {1, 2}
    assert DamagedItems(path, Numbered(100, damaged=(2,)), 0.01).found == {2}  # the other one has been mended
