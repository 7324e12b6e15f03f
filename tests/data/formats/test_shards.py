"""Shards: the library's own samples in any order, an epoch's order that reads them through, and hostile tars."""

import gc
import io
import itertools
import json
import pickle
import tarfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.data import EncodedSource, Source, open_dataset
from elasticface.data.feed.batches import epoch_batches
from elasticface.data.feed.sampler import KeyedBatchSampler, epoch_order
from elasticface.data.formats.folder import FolderSource
from elasticface.data.formats.shards import ShardSource, find_shards, write_shard
from elasticface.data.images.decoding import DamagedImage, decode, encode

Entry = tuple[str, bytes]


def face(value: int, side: int = 112, suffix: str = ".png") -> bytes:
    return encode(np.full((side, side, 3), (value, 10, 200), np.uint8), suffix)


def tar(path: Path, entries: Sequence[Entry | tarfile.TarInfo], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry, io.BytesIO(b"\0" * entry.size))
            else:
                member = tarfile.TarInfo(entry[0])
                member.size = len(entry[1])
                archive.addfile(member, io.BytesIO(entry[1]))
    return path


def shards(folder: Path, counts: Sequence[int] = (4, 3, 5)) -> Path:
    """Image i of the set has red i and identity i mod 3."""
    number = 0
    for shard, count in enumerate(counts):
        samples = [(f"{i:05}", "png", face(i), i % 3) for i in range(number, number + count)]
        write_shard(folder / f"shard-{shard:06}.tar", samples)
        number += count
    return folder


@pytest.fixture(autouse=True)
def _unexpected_warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def opened(path: str | Path, **options: int | None) -> ShardSource:
    return ShardSource(path, cache=False, **options)


def refused(path: str | Path) -> str:
    with pytest.raises(InputError) as error:
        opened(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def alone(folder: Path, entries: Sequence[Entry | tarfile.TarInfo]) -> Path:
    return tar(folder / "one.tar", entries)


# ---------------------------------------------------------------------------------------------- what is read


def test_samples_are_those_that_the_library_streams(tmp_path: Path) -> None:
    folder = shards(tmp_path)
    source = opened(folder)
    pattern = f"{folder}/shard-{{000000..000002}}.tar"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        streamed = list(webdataset.WebDataset(pattern, shardshuffle=False))
    assert len(source) == len(streamed) == 12
    for index, sample in enumerate(streamed):
        assert source.encoded(index) == (sample["png"], int(sample["cls"]))
        assert source.name(index) == f"{sample['__url__']}: {sample['__key__']}.png"
        image, label = source[index]
        np.testing.assert_array_equal(image, decode(sample["png"], ""))
        assert (label, type(label)) == (index % 3, int)
    assert isinstance(source, EncodedSource)
    assert (source.num_classes, list(source.class_names)) == (3, ["0", "1", "2"])
    assert source.labels.dtype == np.int64
    assert source[-1][1] == 2
    with pytest.raises(IndexError):
        source[12]


LABELS = {
    "cls": [b"2", b" 2\n", b"00002"],
    "json": [b"2", b'{"label": 2}', b'{"class": 2}', b'{"cls": 2, "name": "x"}', b'{"label": 2, "class": 9}'],
}


@pytest.mark.parametrize(("suffix", "label"), [(s, label) for s, labels in LABELS.items() for label in labels])
def test_every_way_of_telling_an_identity_is_read(suffix: str, label: bytes, tmp_path: Path) -> None:
    for suffixes in ((suffix, "JPG"), ("webp", suffix.upper())):
        entries = [(f"x/y.{e}", label if e.lower() == suffix else b"image") for e in suffixes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert opened(alone(tmp_path, entries)).encoded(0) == (b"image", 2)


def test_of_two_labels_the_number_counts_and_further_entries_are_passed_over(tmp_path: Path) -> None:
    first = [("x.cls", b"0"), ("x.jpg", b"one"), ("x.json", b"[]"), ("x.txt", b"?"), ("x.mask.png", b"?")]
    second = [("lonely.cls", b"7"), ("README", b"?"), (".hidden", b"?"), ("y.json", b"1"), ("y.jpg", b"two")]
    source = opened(alone(tmp_path, [*first, *second]))
    assert [source.encoded(index) for index in range(len(source))] == [(b"one", 0), (b"two", 1)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_is_read(format: int, tmp_path: Path) -> None:
    long = "/".join(["é" if format != tarfile.USTAR_FORMAT else "e"] + ["long" * 20] * 2)
    entries = [(f"{long}/x.jpg", b"image"), (f"{long}/x.cls", b"0")]
    source = opened(tar(tmp_path / "x.tar", entries, format))
    assert source.encoded(0) == (b"image", 0)


def test_damage_names_shard_and_sample(tmp_path: Path) -> None:
    entries = [("good.png", face(0)), ("good.cls", b"0"), ("bad.png", face(1)[:-9]), ("bad.cls", b"0")]
    source = opened(alone(tmp_path, [*entries, ("none.jpg", b""), ("none.cls", b"0")]))
    source[0]
    for index, name in ((1, r"bad\.png"), (2, r"none\.jpg")):
        with pytest.raises(DamagedImage, match=rf"^.*one\.tar: {name}: the image is "):
            source[index]


def test_an_image_larger_than_any_is_damage_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elasticface.data.formats.encoded.MAX_BYTES", 10)
    source = opened(shards(tmp_path))
    with pytest.raises(DamagedImage, match=r"00000\.png: \d+ bytes, more than the 10"):
        source.encoded(0)


def test_images_of_another_size_are_resized_with_one_warning(tmp_path: Path) -> None:
    path = alone(tmp_path, [("x.png", face(0, 50)), ("x.cls", b"0"), ("y.png", face(0, 60)), ("y.cls", b"0")])
    source = opened(path)
    with pytest.warns(UserWarning, match=r"resized, such as .*x\.png of 50x50") as told:
        assert source[0][0].shape == source[1][0].shape == (112, 112, 3)
    assert len(told) == 1
    assert opened(path, size=50)[0][0].shape == (50, 50, 3)


# ---------------------------------------------------------------------------------------------- how it is used


def test_open_dataset_knows_folders_files_globs_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(tmp_path / "shards")
    monkeypatch.chdir(tmp_path)
    lengths = {
        folder: 12,
        "shards": 12,
        folder / "shard-000001.tar": 3,
        "shards/*.tar": 12,
        "shards/shard-00000[12].tar": 8,
        "shards/shard-{000001..000002}.tar": 8,
    }
    for path, length in lengths.items():
        source: Source = open_dataset(path, cache=False)
        assert isinstance(source, ShardSource)
        assert len(source) == length
    with pytest.raises(InputError, match="no option 'sise'; it knows cache, shuffle_buffer, size"):
        open_dataset(folder, sise=1)


def test_folders_beside_the_shards_are_those_of_tools_or_the_way_out_is_said(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert len(open_dataset(tmp_path, cache=False)) == 12
    (tmp_path / "lost+found").mkdir()
    with pytest.raises(InputError, match=r"no images in any .*; or, to read the \.tar shards there, give .*/\*\.tar$"):
        open_dataset(tmp_path)
    (tmp_path / "lost+found" / "0.png").write_bytes(face(0))
    assert isinstance(open_dataset(tmp_path), FolderSource)


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(InputError, match="the path of a set of faces is empty"):
        open_dataset("")


def test_patterns_of_nothing_are_refused(tmp_path: Path) -> None:
    shards(tmp_path)
    assert "shard-000003.tar is not there" in refused(f"{tmp_path}/shard-{{000000..000003}}.tar")
    assert "no shards there" in refused(f"{tmp_path}/other-*.tar")
    assert "x{0..3.tar: no pattern of shards (" in refused(f"{tmp_path}/x{{0..3.tar")
    for stream in ("pipe:cat x.tar", "https://example.org/x.tar"):
        assert "shards are read from files" in refused(stream)
    assert [path.name for path in find_shards(tmp_path)] == [f"shard-00000{n}.tar" for n in range(3)]


def test_a_copy_that_went_through_pickle_reads_the_same(tmp_path: Path) -> None:
    source = opened(shards(tmp_path))
    source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert [copy.encoded(index) for index in range(12)] == [source.encoded(index) for index in range(12)]


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_read_what_one_reads(workers: int, tmp_path: Path) -> None:
    source = opened(shards(tmp_path), shuffle_buffer=2)
    source[0]  # opened before the workers are forked
    sampler = KeyedBatchSampler(12, 4, 0, 0, order=source.epoch_order)
    alone, helped = (list(epoch_batches(source, sampler, count, False)) for count in (0, workers))
    assert len(alone) == len(helped) == 3
    for (images, labels, *_), (others, their_labels, *_) in zip(alone, helped, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, their_labels)


def test_more_shards_than_are_held_open_are_read(tmp_path: Path) -> None:
    source = opened(shards(tmp_path, [1] * 80))
    for _ in range(2):
        assert [source.encoded(index)[1] for index in range(80)] == [index % 3 for index in range(80)]


def test_what_was_found_is_kept_until_a_shard_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICFACE_CACHE", str(tmp_path / "cache"))
    folder = shards(tmp_path / "shards")
    before = ShardSource(folder)
    with monkeypatch.context() as patch:
        patch.setattr("elasticface.data.formats.shard_index.members", None)  # would fail if it were called
        again = ShardSource(folder)
    assert [again.encoded(index) for index in range(12)] == [before.encoded(index) for index in range(12)]
    write_shard(folder / "shard-000001.tar", [("x", "png", face(9), 1)])
    assert len(ShardSource(folder)) == 10


def test_a_shard_that_changes_before_it_is_read_is_refused(tmp_path: Path) -> None:
    source = opened(shards(tmp_path))
    write_shard(tmp_path / "shard-000001.tar", [("x", "png", face(9), 1)])
    with pytest.raises(InputError, match=r"shard-000001\.tar: has changed since it was opened"):
        source.encoded(4)
    (tmp_path / "shard-000002.tar").unlink()
    with pytest.raises(InputError, match=r"shard-000002\.tar: cannot be read"):
        source.encoded(11)
    with pytest.raises(InputError, match=r"shard-000002\.tar: cannot be read"):
        source.name(11)


# ---------------------------------------------------------------------------------------------- an epoch's order


class Many(ShardSource):
    """Shards without files."""

    def __init__(self, counts: Sequence[int], buffer: int | None, grouped: bool = False) -> None:
        self.files = [Path(str(number)) for number in range(len(counts))]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._buffer = buffer
        count = int(self._starts[-1])
        self.labels = np.arange(count) // (10 if grouped else 1)


counts = st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any)


@given(counts, st.integers(1, 100), st.integers(0, 2**40), st.integers(0, 100))
def test_an_epochs_order_is_a_permutation_keyed_by_seed_and_epoch(
    counts: list[int], buffer: int, seed: int, epoch: int
) -> None:
    order = Many(counts, buffer).epoch_order(seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(sum(counts)))
    np.testing.assert_array_equal(order, Many(counts, buffer).epoch_order(seed, epoch))


@given(counts, st.integers(1, 40), st.integers(0, 2**40))
def test_images_are_read_shard_after_shard_within_the_buffer(counts: list[int], buffer: int, seed: int) -> None:
    source = Many(counts, buffer)
    order = source.epoch_order(seed, 0)
    if len(order) <= buffer:
        np.testing.assert_array_equal(order, epoch_order(len(order), seed, 0))
        return
    shard = np.searchsorted(source._starts, np.arange(len(order)), side="right") - 1
    # Where each image would come without the buffer: shards by the mean place of their images, each in its own order.
    places = np.argsort(order)
    middle = {s: np.mean(places[shard == s]) for s in set(shard.tolist())}
    for s in middle:
        mine = places[shard == s]
        spread = np.abs(np.diff(mine))
        assert spread.max(initial=0) <= 2 * buffer + 1
        assert mine.max() - mine.min() < len(mine) + 2 * buffer


def test_epochs_differ_and_mix_beyond_a_batch() -> None:
    source = Many([100] * 50, 500)
    orders = [source.epoch_order(0, epoch) for epoch in range(3)]
    assert all((a != b).mean() > 0.99 for a, b in itertools.pairwise(orders))
    for part in (orders[0][:100], orders[0][2500:2600], orders[0][-100:]):
        assert len(set((part // 100).tolist())) >= 4  # shards
    moved = np.abs(np.diff(orders[0]))
    assert np.median(moved) > 50


def test_identities_that_lie_together_are_mixed_over_the_whole_set() -> None:
    source = Many([100] * 20, 50, grouped=True)
    np.testing.assert_array_equal(source.epoch_order(3, 4), epoch_order(2000, 3, 4))
    for buffer in (None, 2000):
        np.testing.assert_array_equal(Many([100] * 20, buffer).epoch_order(3, 4), epoch_order(2000, 3, 4))


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(0, 5))
def test_ranks_and_resumed_runs_share_the_order_without_loss(world: int, start: int) -> None:
    source = Many([17] * 6, 20)
    whole = [i for batch in KeyedBatchSampler(102, 16, 1, 2, order=source.epoch_order) for i in batch]
    assert whole == source.epoch_order(1, 2)[:96].tolist()
    ranks = [
        list(KeyedBatchSampler(102, 16, 1, 2, start_step=start, rank=r, world_size=world, order=source.epoch_order))
        for r in range(world)
    ]
    together = [i for parts in zip(*ranks, strict=True) for part in parts for i in part]
    assert together == whole[16 * start :]


def test_a_buffer_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shuffle_buffer"):
        opened(shards(tmp_path), shuffle_buffer=0)


# ---------------------------------------------------------------------------------------------- what is hostile


def special(name: str, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def test_names_that_lead_elsewhere_and_what_is_no_file_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(face(9))
    bad: list[Entry | tarfile.TarInfo] = [
        *(("../secret.png", b"x"), ("../secret.cls", b"0")),
        *(("/etc/x.png", b"x"), ("/etc/x.cls", b"0"), ("a\\b.png", b"x"), ("n" * 300 + ".png", b"x")),
        special("link.png", type=tarfile.SYMTYPE, linkname="../secret.png"),
        special("hard.png", type=tarfile.LNKTYPE, linkname="x.png"),
        special("device.png", type=tarfile.CHRTYPE),
        special("fifo.png", type=tarfile.FIFOTYPE),
        special("folder.png", type=tarfile.DIRTYPE),
    ]
    source = opened(alone(tmp_path, [*bad, ("x.png", face(1)), ("x.cls", b"0")]))
    assert len(source) == 1
    assert source.encoded(0) == (face(1), 0)


SAMPLES: dict[str, tuple[list[Entry], str]] = {
    "no label": ([("x.png", b"x"), ("y.cls", b"0")], "x.png has no x.cls or .json beside it"),
    "two images": ([("x.png", b"x"), ("x.jpg", b"x"), ("x.cls", b"0")], "x has two images, .png and .jpg"),
    "an image twice": ([("x.png", b"x"), ("x.PNG", b"x"), ("x.cls", b"0")], "x.PNG is there twice in a row"),
    "a long label": ([("x.png", b"x"), ("x.cls", b" " * 70_000)], "70,000 bytes, where a label has at most"),
    "nothing": ([], "no images in it"),
    "only labels": ([("x.cls", b"0")], "no images in it"),
}


@pytest.mark.parametrize("what", SAMPLES)
def test_samples_that_are_none_are_named(what: str, tmp_path: Path) -> None:
    entries, message = SAMPLES[what]
    assert message in refused(alone(tmp_path, entries))


@pytest.mark.parametrize("label", [b"", b"x", b"-1", b"1.0", b"16777216", b"9" * 5000, b"1_0", "٣".encode(), b"\xff"])
def test_a_cls_that_is_no_identity_is_named(label: bytes, tmp_path: Path) -> None:
    assert "x.cls: holds no identity" in refused(alone(tmp_path, [("x.png", b"x"), ("x.cls", label)]))


@pytest.mark.parametrize(
    "label",
    [
        *(b"", b"[", b"[" * 60_000, b"null", b"true", b"-1", b"1.5", b'"3"', b"{}", b"9" * 5000, b"\xff"),
        *(b'{"label": true}', b'{"label": [1]}', b'{"label": NaN}', json.dumps({"label": 2**24}).encode()),
        "2".encode("utf-16"),
    ],
)
def test_a_json_that_is_no_identity_is_named(label: bytes, tmp_path: Path) -> None:
    if len(label) > 10_000:
        gc.collect()  # what other tests have left must not be finalised at the bottom of a deep recursion
    assert "x.json: holds no identity" in refused(alone(tmp_path, [("x.png", b"x"), ("x.json", label)]))


def test_a_tar_that_is_cut_short_compressed_or_none_is_refused(tmp_path: Path) -> None:
    whole = (shards(tmp_path / "s") / "shard-000000.tar").read_bytes()
    for content in (b"", b"x" * 600, whole[:700], whole[: len(whole) // 2]):
        (tmp_path / "x.tar").write_bytes(content)
        assert "x.tar: " in refused(tmp_path / "x.tar")
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + whole)
    assert "compressed with gzip" in refused(tmp_path / "x.tar")
    (tmp_path / "folder.tar").mkdir()
    assert "no shards there" in refused(tmp_path / "folder.tar")


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        shards(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_shard_is_whole_or_absent(tmp_path: Path) -> None:
    def samples() -> Iterator[tuple[str, str, bytes, int]]:
        yield "x", "png", b"x", 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "x.tar", samples())
    assert list(tmp_path.iterdir()) == []
