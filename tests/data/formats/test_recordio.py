"""RecordIO sets: what is an image, whose it is, its very bytes; and every way in which two files do not fit."""

import pickle
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import records
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from records import MAGIC, insightface, payload

from elasticface.base.errors import InputError
from elasticface.data import EncodedSource, Source, open_dataset
from elasticface.data.feed.batches import epoch_batches
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.data.formats import recordio_index
from elasticface.data.formats.recordio import RecordIOSource
from elasticface.data.formats.recordio_index import Records, image_rows, read_records
from elasticface.data.images.decoding import DamagedImage, decode, encode


def face(value: int, side: int = 112, suffix: str = ".png") -> bytes:
    return encode(np.full((side, side, 3), (value, 10, 200), np.uint8), suffix)


LABELS = [0, 0, 1, 3, 3, 3]
IMAGES = [face(number) for number in range(len(LABELS))]


@pytest.fixture(autouse=True)
def _unexpected_warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".* 1 of 4 identities has no images")  # number 2
        yield


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Six images of four identities, one of whom has none, as InsightFace lays them out."""
    return records.write(tmp_path / "faces", insightface(list(zip(IMAGES, LABELS, strict=True)), 4))


def opened(path: Path, **options: int) -> RecordIOSource:
    return RecordIOSource(path, cache=False, **options)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        opened(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


# ---------------------------------------------------------------------------------------------- what is read


def test_only_image_records_are_images_and_labels_stay(faces: Path) -> None:
    source = opened(faces)
    assert len(source) == 6
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == LABELS
    assert source.num_classes == 4
    assert list(source.class_names) == ["0", "1", "2", "3"]
    assert source.class_names[-1] == "3"
    assert source.class_names[1:3] == ["1", "2"]
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        assert source.encoded(index) == (image, label)
        pixels, given_label = source[index]
        np.testing.assert_array_equal(pixels, decode(image, ""))
        assert (given_label, type(given_label)) == (label, int)
    assert isinstance(source, EncodedSource)
    with pytest.raises(IndexError):
        source[6]


def test_a_set_of_casias_shape_has_its_images_alone(tmp_path: Path) -> None:
    # 490,623 images of 10,572 people and as many records of ranges, in small.
    labels = [person for person in range(105) for _ in range(47)][:4906]
    folder = records.write(tmp_path / "casia", insightface([(b"x", float(label)) for label in labels], 105))
    assert len(opened(folder)) == 4906


def test_without_a_record_of_counts_every_record_is_an_image(tmp_path: Path) -> None:
    payloads = [payload(label, image) for label, image in zip(LABELS, IMAGES, strict=True)]
    source = opened(records.write(tmp_path / "plain", payloads, keys=[7, 3, 9, 1, 2, 30]))
    order = np.argsort([7, 3, 9, 1, 2, 30])
    assert source.labels.tolist() == [LABELS[row] for row in order]
    assert [source.encoded(index)[0] for index in range(6)] == [IMAGES[row] for row in order]
    assert source.name(0).endswith("train.rec: record 1")


def test_of_several_labels_the_first_counts(tmp_path: Path) -> None:
    images = [(IMAGES[0], (0.0, 0.5)), (IMAGES[1], (1.0, 0.0, 7.0)), (IMAGES[2], 2.0)]
    both = (
        records.write(tmp_path / "both", insightface(images, 3)),
        records.write(tmp_path / "plain", [payload(label, image) for image, label in images]),
    )
    for folder in both:
        source = opened(folder)
        assert source.labels.tolist() == [0, 1, 2]
        assert [source.encoded(index)[0] for index in range(3)] == IMAGES[:3]


pieces = st.lists(st.sampled_from([MAGIC, b"\0" * 4, b"abcd", b"x", MAGIC[:3]]), max_size=9).map(b"".join)


@settings(max_examples=60)
@given(st.lists(st.tuples(pieces, st.sampled_from([0.0, 1.0, (1.0,), (2.0, 3.0)])), min_size=1, max_size=5))
def test_data_that_hold_the_magic_word_anywhere_come_back(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[bytes, float]]
) -> None:
    folder = tmp_path_factory.mktemp("magic")
    payloads = [payload(0.0, b"first"), *(payload(label, image) for image, label in images)]
    records.write(folder, payloads)
    assert records.read_all((folder / "train.rec").read_bytes()) == payloads  # the longhand agrees with itself
    for idx in (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not idx:
                (folder / "train.idx").unlink()
            source = opened(folder)
        firsts = [label if isinstance(label, float) else label[0] for _, label in images]
        assert source.labels.tolist() == [0, *firsts]
        assert [source.encoded(index)[0] for index in range(1, len(payloads))] == [image for image, _ in images]


def test_a_header_that_holds_the_magic_word_is_read_across_its_parts(tmp_path: Path) -> None:
    number = int.from_bytes(MAGIC, "little")
    data = struct.pack("<IfQQ", 0, 1.0, number, number) + IMAGES[0]
    several = struct.pack("<IfQQ", 2, 0.0, number, 0) + struct.pack("<2f", 2.0, 4.0) + IMAGES[1]
    source = opened(records.write(tmp_path, [payload(0.0, b"x"), data, several]))
    assert source.labels.tolist() == [0, 1, 2]
    assert [source.encoded(index)[0] for index in (1, 2)] == IMAGES[:2]


def test_an_image_larger_than_any_is_damage_and_not_read(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elasticface.data.formats.encoded.MAX_BYTES", 10)
    with pytest.raises(DamagedImage, match=r"train\.rec: record 1: \d+ bytes, more than the 10 that an image may have"):
        opened(faces)[0]


def test_a_missing_idx_is_made_up_for_and_nothing_is_written(faces: Path) -> None:
    before = opened(faces)
    (faces / "train.idx").unlink()
    with pytest.warns(UserWarning, match=r"train\.idx: not there; records are found by going through train\.rec"):
        source = opened(faces)
    assert [source.encoded(index) for index in range(6)] == [before.encoded(index) for index in range(6)]
    assert [path.name for path in faces.iterdir()] == ["train.rec"]


def test_property_counts_identities_that_have_no_images(faces: Path) -> None:
    (faces / "property").write_text("6,112,112\n")
    with pytest.warns(UserWarning, match="3 of 6 identities have no images, such as 2"):
        assert opened(faces).num_classes == 6
    (faces / "property").write_text("2,112,112")
    with pytest.warns(UserWarning, match="says that it has 2 identities, its labels go up to 3"):
        assert opened(faces).num_classes == 4


@pytest.mark.parametrize("content", ["", "4,112", "x,112,112", "-4,112,112", "4;112;112", "99999999,1,1", "1" * 5000])
def test_a_property_that_is_none_is_refused(content: str, faces: Path) -> None:
    (faces / "property").write_text(content)
    assert "property" in refused(faces)


def test_a_set_of_another_size_is_resized_with_one_warning(tmp_path: Path) -> None:
    folder = records.write(tmp_path, [payload(0, face(1, 50)), payload(1, face(2, 60))])
    source = opened(folder)
    with pytest.warns(UserWarning, match="resized, such as .*record 0 of 50x50") as told:
        assert source[0][0].shape == source[1][0].shape == (112, 112, 3)
    assert len(told) == 1
    assert opened(folder, size=50)[0][0].shape == (50, 50, 3)
    with pytest.raises(InputError, match="size"):
        opened(folder, size=0)


def test_damage_names_file_and_record(faces: Path) -> None:
    payloads = [payload(0, IMAGES[0]), payload(1, IMAGES[1][:-9]), payload(1, b"")]
    source = opened(records.write(faces / "other", payloads))
    for index in (1, 2):
        with pytest.raises(DamagedImage, match=rf"^.*train\.rec: record {index}: "):
            source[index]


# ---------------------------------------------------------------------------------------------- how it is used


def test_open_dataset_knows_the_folder_and_the_file(faces: Path) -> None:
    for path in (faces, str(faces), faces / "train.rec", faces / "train.idx"):
        source: Source = open_dataset(path, cache=False)
        assert isinstance(source, RecordIOSource)
        assert len(source) == 6
    (faces / "train.rec").rename(faces / "other.rec")
    (faces / "train.idx").rename(faces / "other.idx")
    assert len(open_dataset(faces / "other.rec")) == 6
    with pytest.raises(InputError, match="no option 'sise'; it knows cache, size"):
        open_dataset(faces / "other.rec", sise=1)


def test_a_copy_that_went_through_pickle_reads_the_same(faces: Path) -> None:
    source = opened(faces)
    source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert [copy.encoded(index) for index in range(6)] == [source.encoded(index) for index in range(6)]


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_read_what_one_reads(workers: int, faces: Path) -> None:
    source = opened(faces)
    source[0]  # opened before the workers are forked
    alone, helped = (list(epoch_batches(source, KeyedBatchSampler(6, 2, 0, 0), count, False)) for count in (0, workers))
    assert len(alone) == len(helped) == 3
    for (images, labels, *_), (others, their_labels, *_) in zip(alone, helped, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, their_labels)


def test_what_was_found_is_kept_until_a_file_changes(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICFACE_CACHE", str(faces / "cache"))
    before = RecordIOSource(faces)
    with monkeypatch.context() as patch:
        patch.setattr("elasticface.data.formats.recordio.read_records", None)  # would fail if it were called
        again = RecordIOSource(faces)
    assert again.labels.tolist() == before.labels.tolist()
    assert [again.encoded(index) for index in range(6)] == [before.encoded(index) for index in range(6)]
    (kept,) = (faces / "cache" / "indices").iterdir()
    kept.write_bytes(kept.read_bytes()[:-40])  # damaged, it is made again
    assert RecordIOSource(faces).labels.tolist() == LABELS
    records.write(faces, insightface([(IMAGES[0], 0.0), (IMAGES[1], 1.0)], 2))
    assert RecordIOSource(faces).labels.tolist() == [0, 1]


def test_a_file_that_changes_after_opening_is_refused(faces: Path) -> None:
    source = opened(faces)
    records.write(faces, insightface([(IMAGES[0], 0.0)], 1))
    with pytest.raises(InputError, match=r"train\.rec: has changed since it was opened"):
        source[0]
    (faces / "train.rec").unlink()
    with pytest.raises(InputError, match=r"train\.rec: cannot be read"):
        source[0]


def test_saying_what_is_read_next_changes_nothing(faces: Path) -> None:
    source = opened(records.write(faces / "more", [payload(0, image + MAGIC * 2) for image in IMAGES]))
    source.will_read(range(6))
    assert [source.encoded(index)[0] for index in range(6)] == [image + MAGIC * 2 for image in IMAGES]
    opened(faces).will_read([0, 5, -1])


# ---------------------------------------------------------------------------------------------- what does not fit


def rows(faces: Path) -> list[str]:
    return (faces / "train.idx").read_text().splitlines()


ROWS = {
    "3": "row 3: not a record's number, a tab and its byte: 3;",
    "3\t4\t5": "row 3: not a record's number, a tab and its byte: 3\\\\t4\\\\t5;",
    "3\tx": "row 3: not a record's number, a tab and its byte: 3\\\\tx; remove the file and it is rebuilt",
    "": "row 3: not a record's number, a tab and its byte: a blank row;",
    "-3\t40": "row 3: not a record's number, a tab and its byte: -3\\\\t40;",
    "3\t" + "9" * 30: "row 3: not a record's number, a tab and its byte: 3\\\\t999",
    "2\t3.0": "row 3: not a record's number, a tab and its byte: 2\\\\t3.0;",
    "2 41": "row 3 (record 2) leads to byte 41, where train.rec has no whole record",
    "2\t41": "row 3 (record 2) leads to byte 41, where train.rec has no whole record",
    "2\t44": "row 3 (record 2) leads to byte 44, where train.rec has no whole record",
    "2\t99999999": "row 3 (record 2) leads to byte 99,999,999, beyond the end of train.rec",
    "2\t" + "9" * 18: "row 3 (record 2) leads to byte 999,999,999,999,999,999, beyond the end",
    "2\t0": "names 11 records, which are not the ones in train.rec",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_idx_that_is_wrong_is_named(row: str, faces: Path) -> None:
    lines = rows(faces)
    lines[2] = row
    (faces / "train.idx").write_text("\n".join(lines) + "\n")
    message = refused(faces)
    assert "train.idx" in message
    assert ROWS[row].replace("\\\\", "\\") in message.replace("\\\\", "\\")


def test_an_idx_of_windows_line_ends_is_read(faces: Path) -> None:
    (faces / "train.idx").write_bytes("\r\n".join(rows(faces)).encode())
    assert len(opened(faces)) == 6


@pytest.mark.parametrize("missing", [0, 4, 10])
def test_an_idx_that_leaves_a_record_out_is_refused(missing: int, faces: Path) -> None:
    lines = rows(faces)
    del lines[missing]
    (faces / "train.idx").write_text("\n".join(lines))
    message = refused(faces)
    assert "names 10 records, which are not the ones in train.rec" in message
    where = {0: "before the first row", 4: "after row 4", 10: "after row 10"}[missing]
    assert f"{where} there should be one at byte" in message


@pytest.mark.parametrize("last", [3, 2])
@pytest.mark.parametrize("apart", [0, 8])
def test_rows_that_lead_into_one_record_of_many_parts_do_not_go_through_it_each(
    last: int, apart: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, parts = 50, 10
    first = [records.part(1, b"")] if not apart else [records.part(1, b"\0" * 8 * n)[:8] for n in reversed(range(rows))]
    middle = records.part(2, b"") * parts
    (tmp_path / "train.rec").write_bytes(b"".join(first) + middle + records.part(last, b""))
    (tmp_path / "train.idx").write_text("".join(f"{row}\t{apart * row}\n" for row in range(rows)))
    walked = mock.Mock(wraps=recordio_index._end)
    monkeypatch.setattr(recordio_index, "_end", walked)
    refused(tmp_path)
    assert walked.call_count == 1


def test_a_record_that_is_named_twice_is_refused(faces: Path) -> None:
    lines = rows(faces)
    lines[3] = f"2\t{lines[3].split()[1]}"
    (faces / "train.idx").write_text("\n".join(lines))
    assert "names record 2 twice" in refused(faces)


def test_images_that_record_0_counts_must_be_there(faces: Path) -> None:
    made = insightface(list(zip(IMAGES, LABELS, strict=True)), 4)
    folder = records.write(faces / "fewer", [made[0], *made[2:4]], keys=[0, 2, 3])
    assert "record 0 says that there are 6 images, train.idx does not name record 1" in refused(folder)
    folder = records.write(faces / "cut", made[:3])
    assert "record 0 says that there are 6 images, train.idx does not name record 3" in refused(folder)


@pytest.mark.parametrize("first", [0.0, -1.0, 1.5, float("nan"), float("inf"), 1e30])
def test_a_record_0_of_impossible_counts_is_refused(first: float, tmp_path: Path) -> None:
    folder = records.write(tmp_path, [payload((first, 9.0), b""), payload(0.0, IMAGES[0])])
    assert "record 0 says that images end at record" in refused(folder)


@pytest.mark.parametrize("label", [-1.0, 0.5, float("nan"), float("inf"), 2.0**24])
def test_a_label_that_is_no_identity_is_refused_with_its_record(label: float, tmp_path: Path) -> None:
    folder = records.write(tmp_path, [payload(0.0, IMAGES[0]), payload(label, IMAGES[1])])
    assert f"train.rec: record 1 has the label {np.float32(label)}, where an identity is" in refused(folder)


def test_records_without_labels_are_refused(tmp_path: Path) -> None:
    too_many = struct.pack("<IfQQ", 1 << 31, 0, 0, 0) + b"x" * 40
    for data in (b"", b"x" * 23, too_many, MAGIC + b"x" * 8, struct.pack("<IfQQ", 9, 0, 0, 0) + MAGIC * 3):
        assert "record 0 is too short to hold a label" in refused(records.write(tmp_path, [data]))


@pytest.mark.parametrize("idx", [True, False])
@pytest.mark.parametrize("keep", [0, 4, 7, 30, 200, -1])
def test_a_rec_that_is_cut_short_is_refused(keep: int, idx: bool, faces: Path) -> None:
    content = (faces / "train.rec").read_bytes()
    (faces / "train.rec").write_bytes(content[:keep])
    if not idx:
        (faces / "train.idx").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = refused(faces)
    assert "train.rec" in message


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "nothing.rec")
    (tmp_path / "x.rec").write_bytes(b"no records" * 100)
    with pytest.warns(UserWarning, match="not there"):
        assert "no whole record 0 at byte 0" in refused(tmp_path / "x.rec")
    (tmp_path / "x.idx").write_text("\n \n")
    assert "x.idx: the file is empty; remove the file and it is rebuilt" in refused(tmp_path / "x.rec")


def test_a_count_that_was_rounded_by_float32_is_put_right() -> None:
    # 16,777,216 images: that identities begin at record 16,777,217 is more than record 0 can say.
    for images in (2**24, 2**24 + 2):
        keys = np.arange(images + 5, dtype=np.int32)
        sizes = np.where((keys == 0) | (keys > images), np.int8(0), np.int8(9))
        labels, seconds = np.zeros((2, len(keys)), np.float32)
        labels[0], seconds[0] = images + 1, images + 5
        found = image_rows(Records(keys, keys, sizes, labels, seconds), Path("x"), "x")
        assert found == slice(1, images + 1)


def test_every_record_is_found_by_its_key(faces: Path) -> None:
    found = read_records(faces / "train.rec", faces / "train.idx")
    assert found.keys.tolist() == list(range(11))
    assert found.labels.tolist() == [7, *LABELS, 1, 3, 0, 4]
    assert found.seconds[[0, -1]].tolist() == [11, 7]
    assert (found.sizes == 0).tolist() == [True, *[False] * 6, *[True] * 4]
