"""Several sets as one: who is the same person, what is refused, and the order of an epoch."""

import pickle
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_people
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.data import open_dataset
from elasticface.data.feed import sampler
from elasticface.data.formats.encoded import NumberNames
from elasticface.data.joined import JoinedSource, open_sets
from elasticface.data.prepare.convert import convert


class Made:
    """A set whose images hold their own number in it; its names are its own, or numbers of the format."""

    def __init__(self, labels: Sequence[int], names: Sequence[str] | None = None, mark: int = 0, **more: Any) -> None:
        self.labels = np.array(labels, np.int64)
        self.num_classes = max(labels) + 1 if names is None else len(names)
        self.class_names: Sequence[str] = NumberNames(self.num_classes) if names is None else names
        self.mark, self.told = mark, list[int]()
        self.__dict__.update(more)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return np.full((2, 2, 3), self.mark + index, np.uint8), int(self.labels[index])


def joined(*sources: Any, merge: bool = False) -> JoinedSource:
    return JoinedSource(sources, [f"set{number}" for number in range(len(sources))], merge)


def images(source: JoinedSource) -> list[tuple[int, str]]:
    """Of each image what is in it, and whose it is."""
    found = []
    for index in range(len(source)):
        image, label = source[index]
        assert label == source.labels[index]
        found.append((int(image[0, 0, 0]), source.class_names[label]))
    return found


def test_the_images_come_set_after_set_with_the_people_of_each() -> None:
    source = joined(Made([0, 1, 0], ["ann", "bo"]), Made([1, 0], ["cy", "di"], mark=100))
    assert images(source) == [(0, "ann"), (1, "bo"), (2, "ann"), (100, "di"), (101, "cy")]
    assert (source.num_classes, len(source)) == (4, 5)
    with pytest.raises(IndexError):
        source[5]


def test_a_single_set_stays_what_it_is(people: Path) -> None:
    assert type(open_sets([people])) is type(open_dataset(people))


def test_a_shared_name_is_refused_with_an_example_a_count_and_both_ways_out() -> None:
    sets = Made([0, 1], ["ann", "bo"]), Made([0], ["cy"]), Made([0, 1, 2], ["bo", "ann", "di"])
    with pytest.raises(InputError) as refused:
        joined(*sets)
    assert str(refused.value) == (
        "2 identity names are in more than one set, such as 'ann' in set0 and set2; give --merge-identities if equal "
        "names are the same people, or rename them"
    )
    with pytest.raises(InputError, match="an identity name is in more than one set, such as 'ann' in set0 and set1"):
        joined(*sets[:1], Made([0], ["ann"]))


def test_merged_identities_of_equal_names_are_one_class() -> None:
    source = joined(Made([0, 1], ["ann", "bo"]), Made([0, 1, 1], ["cy", "ann"], mark=100), merge=True)
    assert source.class_names == ["ann", "bo", "cy"]
    assert images(source) == [(0, "ann"), (1, "bo"), (100, "cy"), (101, "ann"), (102, "ann")]


def test_one_name_in_two_unicode_forms_is_one_name() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    with pytest.raises(InputError, match="an identity name is in more than one set"):
        joined(Made([0], [composed]), Made([0], [decomposed]))
    assert joined(Made([0], [decomposed]), Made([0], [composed]), merge=True).class_names == [decomposed]
    assert joined(Made([0, 1], [decomposed, composed]), Made([0], [composed]), merge=True).class_names == [decomposed]
    # Within a set they are two folders, and two classes, as without another set.
    assert joined(Made([0, 1], [composed, decomposed]), Made([0], ["ann"])).num_classes == 3


@pytest.mark.parametrize("merge", [False, True])
def test_numbers_in_place_of_names_are_neither_refused_nor_merged(merge: bool, capsys: Any) -> None:
    source = joined(Made([0, 1]), Made([0, 1, 2]), merge=merge)
    assert source.class_names == ["set0: 0", "set0: 1", "set1: 0", "set1: 1", "set1: 2"]
    assert source.labels.tolist() == [0, 1, 2, 3, 4]
    told = capsys.readouterr().err
    assert "set0, set1: identities have numbers in place of names; those of each set are people of its own" in told


@pytest.mark.parametrize("merge", [False, True])
def test_numbers_of_a_set_stay_plain_where_no_other_has_them(merge: bool, capsys: Any) -> None:
    assert joined(Made([0, 1]), Made([0], ["ann"]), merge=merge).class_names == ["0", "1", "ann"]
    assert ("set0: " in capsys.readouterr().err) == merge
    # A folder may have such names of its own.
    assert joined(Made([0, 1]), Made([0], ["1"]), merge=merge).class_names == ["set0: 0", "set0: 1", "1"]


def test_rendered_people_are_the_same_within_a_seed_alone() -> None:
    one = "synthetic:identities=3,images=2"
    with pytest.raises(InputError, match="2 identity names are in more than one set, such as 'person-000001'"):
        open_sets([one, "synthetic:identities=2,images=3,first=1"])
    source = open_sets([one, "synthetic:identities=2,images=3,first=1"], merge_identities=True)
    assert source.num_classes == 3
    other = "synthetic:identities=1,images=2,seed=1"
    for merge in (False, True):
        found = open_sets([one, other], merge_identities=merge)
        assert [name.rpartition(": ")[2] for name in found.class_names] == [
            *(f"person-00000{number}" for number in range(3)),
            "person-000000",
        ]
        assert len(set(found.class_names)) == 4


def test_the_same_set_twice_is_refused_before_any_is_opened(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "faces")
    with pytest.raises(InputError, match=r"link: the same set as .*faces; give it once"):
        open_sets([tmp_path / "faces", str(tmp_path / "link")])
    with pytest.raises(InputError, match="give it once"):
        open_sets(["synthetic:identities=3,images=2"] * 2)
    made = Made([0, 1])
    with pytest.raises(InputError, match="set 2, a Made: the same set as set 1, a Made; give it once"):
        open_sets([made, made])  # type: ignore[list-item]
    with pytest.raises(InputError, match="no data"):
        open_sets([])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rec", "rec/train.rec"),
        ("rec/train.rec", "rec/train.idx"),
        ("shards", "shards/*.tar"),
        ("link", "shards/shard-{000000..000001}.tar"),
    ],
)
def test_a_file_that_two_sets_read_is_refused(
    one: str, other: str, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    convert(people, Path("rec"), "recordio")
    convert(people, Path("shards"), "shards", per_shard=15)
    Path("link").symlink_to("shards")
    with pytest.raises(InputError, match=rf"^{re.escape(other)}: reads .*, which {re.escape(one)} reads too; give it"):
        open_sets([one, other])


def test_a_set_that_is_missing_is_named(people: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        open_sets([people, tmp_path / "absent"])


def test_sizes_that_differ_are_refused_with_both(people: Path, tmp_path: Path) -> None:
    others = write_people(tmp_path / "others", 8, 2)
    for person in range(6):
        shutil.rmtree(others / f"person_{person:02d}")
    with pytest.warns(UserWarning, match="are resized"):
        small = open_dataset(others, size=64)
    with pytest.raises(InputError, match="set1: images of 64 pixels, and set0 has some of 112; open all sets with one"):
        joined(open_dataset(people), small)
    assert joined(open_dataset(people), Made([0])).size == 112  # as sources that do not say it


# The order of an epoch.


def reversed_order(self: Made, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.arange(len(self))[::-1]


class InItsOrder(Made):
    epoch_order = reversed_order


def test_without_an_order_of_their_own_sets_are_mixed_as_one() -> None:
    source = joined(Made([0] * 30), Made([0] * 50))
    assert np.array_equal(source.epoch_order(3, 4), sampler.epoch_order(80, 3, 4))


def test_a_set_with_an_order_of_its_own_keeps_it_among_the_others() -> None:
    source = joined(Made([0] * 300), InItsOrder([0] * 200), Made([0] * 300))
    order = source.epoch_order(3, 4)
    assert sorted(order.tolist()) == list(range(800))
    second = order[(order >= 300) & (order < 500)]
    assert second.tolist() == list(range(499, 299, -1))
    assert np.array_equal(order, source.epoch_order(3, 4))
    assert not np.array_equal(order, source.epoch_order(3, 5))
    # Mixed: each of eight parts has about an eighth of each set; of 100 draws, ±5 standard deviations.
    for part in order.reshape(8, 100):
        assert abs(((part >= 300) & (part < 500)).sum() - 25) < 5 * np.sqrt(100 * 0.25 * 0.75)
    first, third = order[order < 300], order[order >= 500] - 500
    assert not np.array_equal(first, third)


def test_each_set_is_told_which_of_its_images_are_read_next() -> None:
    class Told(Made):
        def will_read(self, indices: Sequence[int]) -> None:
            self.told.extend(indices)

    sets = Told([0] * 3), Made([0] * 3), Told([0] * 3)
    joined(*sets).will_read([8, 0, 4, 2, 6])
    assert [one.told for one in sets] == [[0, 2], [], [2, 0]]


def test_a_joined_source_can_be_sent_to_other_processes(people: Path) -> None:
    source = joined(open_dataset(people), Made([0, 1]))
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(again[31][0], source[31][0])
    assert again.labels.tolist() == source.labels.tolist()
