"""elasticface.data.synthetic.source and .cache: rendered or kept, an image is the same bits; and whatever is wrong."""

import errno
import functools
import os
import pickle
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from elasticface.base import files, homes
from elasticface.base.errors import InputError
from elasticface.data import Source, open_dataset
from elasticface.data.synthetic import cache, source
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.source import SyntheticFaces
from elasticface.data.synthetic.studio import Studio

SET = {"identities": 3, "images": 4, "seed": 1, "first": 5}
VARIATION = Variation()


@pytest.fixture(scope="module")
def rendered():
    """The set's images, rendered one after the other."""
    faces = SyntheticFaces(**SET, cache=False)
    return [faces[i][0] for i in range(len(faces))]


@pytest.fixture(autouse=True)
def _unexpected_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


STUDIO = source.studio


@functools.cache
def image(seed, variation, identity, photo):
    return STUDIO(seed, variation).image(identity, photo)


@pytest.fixture
def calls(monkeypatch):
    """Every (identity, photo) that is rendered from now on; in truth once, then it is remembered."""
    seen = []

    class Counting(Studio):
        def image(self, identity, photo):
            seen.append((identity, photo))
            return image(self.seed, self.variation, identity, photo).copy()

    monkeypatch.setattr(source, "studio", Counting)
    return seen


def same(faces, rendered, order=None):
    return all(np.array_equal(faces[i][0], rendered[i]) for i in order or range(len(rendered)))


def kept(folder):
    """The cache's files."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------------------------------------- the set


def test_labels_and_names_are_those_of_the_identities_in_order():
    faces: Source = SyntheticFaces(**SET, cache=False)
    assert len(faces) == 12
    assert faces.num_classes == 3
    assert faces.class_names == ["person-000005", "person-000006", "person-000007"]
    assert faces.labels.dtype == np.int64
    assert faces.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_an_item_is_the_studios_image_and_a_plain_label(rendered):
    image, label = SyntheticFaces(**SET, cache=False)[9]
    np.testing.assert_array_equal(image, Studio(1, VARIATION).image(7, 1))
    assert (image.shape, image.dtype, label, type(label)) == ((112, 112, 3), np.uint8, 2, int)
    assert image.flags.writeable


def test_images_depend_neither_on_order_nor_on_what_else_is_in_the_set(rendered):
    source.studio.cache_clear()
    assert same(SyntheticFaces(**SET, cache=False), rendered, [11, 0, 7, 3, 8, 4])
    apart = SyntheticFaces(identities=2, images=2, seed=1, first=6, cache=False)
    for index, other in enumerate([4, 5, 8, 9]):
        np.testing.assert_array_equal(apart[index][0], rendered[other])


def test_people_photos_and_seeds_differ(rendered):
    assert len({image.tobytes() for image in rendered}) == len(rendered)
    assert not np.array_equal(SyntheticFaces(identities=6, images=1, cache=False)[5][0], rendered[0])


def test_indices_count_from_the_end(rendered):
    faces = SyntheticFaces(**SET, cache=False)
    image, label = faces[-1]
    np.testing.assert_array_equal(image, rendered[11])
    assert label == faces.labels[11]
    for beyond in (12, -13):
        with pytest.raises(IndexError):
            faces[beyond]


def test_a_pickled_set_is_small_and_the_same(rendered, tmp_path, calls):
    for cached in (False, tmp_path):
        faces = SyntheticFaces(**SET, cache=cached)
        assert same(faces, rendered, [6, 1])
        data = pickle.dumps(faces)
        assert len(data) < 2000
        assert same(pickle.loads(data), rendered, [2, 6])


# ---------------------------------------------------------------------------------------------- the cache


def test_a_kept_image_is_the_rendered_one(rendered, tmp_path, calls):
    assert same(SyntheticFaces(**SET, cache=tmp_path), rendered, [7, 11, 0, 3, 10, 5])
    assert len(calls) == 12
    again = SyntheticFaces(**SET, cache=tmp_path)
    assert same(again, rendered)
    assert len(calls) == 12
    assert again[0][0].flags.writeable


def test_an_identity_is_rendered_as_a_whole_when_it_is_first_read(tmp_path, calls):
    faces = SyntheticFaces(**SET, cache=str(tmp_path))
    faces[6]
    assert calls == [(6, 0), (6, 1), (6, 2), (6, 3)]
    assert len(kept(tmp_path)) == 1
    for index in (4, 5, 6, 7):
        faces[index]
    assert len(calls) == 4


def test_sets_of_one_seed_share_what_is_kept(rendered, tmp_path, calls):
    same(SyntheticFaces(**SET, cache=tmp_path), rendered)
    more = SyntheticFaces(identities=4, images=3, seed=1, first=4, cache=tmp_path)
    assert np.array_equal(more[5][0], rendered[2])
    assert len(calls) == 12
    longer = SyntheticFaces(identities=3, images=5, seed=1, first=5, cache=tmp_path)
    assert np.array_equal(longer[13][0], rendered[11])  # the very photo that was kept, in its place
    assert len(calls) == 12
    longer[14]
    assert calls[12:] == [(7, photo) for photo in range(5)]
    assert same(SyntheticFaces(**SET, cache=tmp_path), rendered)
    assert len(calls) == 17


@pytest.mark.parametrize("other", [{"seed": 2}, {"heterogeneity": 0.0}, {"appearance": "redrawn"}, "renderer"])
def test_other_faces_share_nothing(other, tmp_path, calls, monkeypatch):
    SyntheticFaces(**SET, cache=tmp_path)[0]
    if other == "renderer":
        monkeypatch.setattr(source, "RENDERER_VERSION", source.RENDERER_VERSION + 1)
        other = {}
    SyntheticFaces(**SET | other, cache=tmp_path)[0]
    assert len(calls) == 8
    assert len(kept(tmp_path)) == 2


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),  # what a power cut can leave
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["a bit", "cut short", "zeros", "empty", "gone"],
)
def test_what_is_damaged_is_rendered_and_kept_anew(damage, rendered, tmp_path, calls):
    faces = SyntheticFaces(**SET, cache=tmp_path)
    assert same(faces, rendered)
    whole = [path.read_bytes() for path in kept(tmp_path)]
    damage(kept(tmp_path)[1])
    assert same(faces, rendered)
    assert len(calls) == 16
    assert [path.read_bytes() for path in kept(tmp_path)] == whole


def test_unfinished_files_of_killed_processes_go_and_those_of_living_ones_stay(rendered, tmp_path, calls):
    assert same(SyntheticFaces(**SET, cache=tmp_path), rendered)
    folder = kept(tmp_path)[0].parent
    abandoned, fresh = folder / ".000006.faces.0123abcd.tmp", folder / ".000007.faces.0123abcd.tmp"
    for path in (abandoned, fresh):
        path.write_bytes(b"half")
    os.utime(abandoned, (time.time() - 7200,) * 2)
    assert same(SyntheticFaces(**SET, cache=tmp_path), rendered)
    assert (abandoned.exists(), fresh.exists()) == (False, True)


def test_two_processes_may_fill_one_cache(rendered, tmp_path, calls):
    faces = SyntheticFaces(**SET, cache=tmp_path)
    both = [index for index in np.random.default_rng(0).permutation(12) for _ in range(2)]  # each process gets each
    read = list(DataLoader(faces, batch_size=None, sampler=both, num_workers=2))
    for (image, label), index in zip(read, both, strict=True):
        assert np.array_equal(image, rendered[index])
        assert label == faces.labels[index]
    assert [path.suffix for path in kept(tmp_path)] == [".faces"] * 3
    assert same(faces, rendered)
    assert calls == []  # here: all are kept


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_gets_full_is_told_once_and_rendering_goes_on(rendered, tmp_path, monkeypatch, calls):
    faces = SyntheticFaces(**SET, cache=tmp_path)
    assert same(faces, rendered, [0])
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", no_room)
        with pytest.warns(UserWarning, match="rendered each time, not kept: .*No space left") as told:
            assert same(faces, rendered)
        assert len(told) == 1
    assert len(kept(tmp_path)) == 1


def test_all_processes_together_tell_of_it_once(rendered, tmp_path, monkeypatch, calls):
    log = tmp_path / "log"

    def tell(message, *_, **__):
        with log.open("a") as file:
            file.write(f"{message}\n")

    faces = SyntheticFaces(**SET, cache=tmp_path / "cache")
    monkeypatch.setattr(files.os, "replace", no_room)
    warnings.simplefilter("always")
    monkeypatch.setattr(warnings, "showwarning", tell)
    for _ in range(2):  # epochs, each with processes of its own
        read = list(DataLoader(faces, batch_size=None, num_workers=1))
        assert all(np.array_equal(image, rendered[i]) for i, (image, _) in enumerate(read))
    assert len(log.read_text().splitlines()) == 1


def test_what_the_disk_has_no_room_for_is_not_kept_but_what_is_there_is_read(rendered, tmp_path, monkeypatch, calls):
    assert same(SyntheticFaces(**SET, cache=tmp_path), rendered, [0])
    monkeypatch.setattr(cache.files, "room", lambda path: 300_000)
    with pytest.warns(UserWarning, match=r"they take 301\.1 kB, .* has room for 300\.0 kB; ELASTICFACE_CACHE") as told:
        faces = SyntheticFaces(**SET, cache=tmp_path)
    assert len(told) == 1
    assert same(faces, rendered)
    assert len(kept(tmp_path)) == 1
    monkeypatch.setattr(cache.files, "room", lambda path: 302_000)
    assert same(SyntheticFaces(**SET, cache=tmp_path), rendered)
    assert len(kept(tmp_path)) == 3


def test_a_cache_that_cannot_be_is_told_and_done_without(rendered, tmp_path, monkeypatch, calls):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ELASTICFACE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"not kept: .*Not a directory.*file.*; ELASTICFACE_CACHE names another"):
        faces = SyntheticFaces(**SET)
    assert same(faces, rendered, [3])
    monkeypatch.delenv("ELASTICFACE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.warns(UserWarning, match="not kept: Could not determine home directory"):
        faces = SyntheticFaces(**SET)
    assert same(faces, rendered, [3])


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch, calls):
    monkeypatch.setenv("ELASTICFACE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    SyntheticFaces(**SET)[0]
    assert [path.relative_to(tmp_path).parts[:2] for path in kept(tmp_path)] == [("own", "synthetic")]
    monkeypatch.setenv("ELASTICFACE_CACHE", "")
    assert homes.cache_folder() == tmp_path / "xdg" / "elasticface"
    for ignored in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert homes.cache_folder() == tmp_path / "home" / ".cache" / "elasticface"


# ---------------------------------------------------------------------------------------------- descriptions


def test_a_description_opens_the_set_it_describes(rendered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faces = open_dataset("synthetic:identities=3,images=4,seed=1,first=5", cache=False)
    assert isinstance(faces, SyntheticFaces)
    assert same(faces, rendered)
    assert (faces.num_classes, len(faces), faces.class_names[0]) == (3, 12, "person-000005")
    again = Path("synthetic: first=5, images=4 ,identities=3, seed=1")
    first = open_dataset(again, cache=tmp_path)
    assert same(first, rendered, [4])
    assert (faces.missing, first.missing, open_dataset(again, cache=tmp_path).missing) == (0, 3, 2)
    other = open_dataset("synthetic:identities=1,images=1,heterogeneity=1e-1,appearance=frozen", cache=False)
    image = SyntheticFaces(identities=1, images=1, heterogeneity=0.1, appearance="frozen", cache=False)[0][0]
    np.testing.assert_array_equal(other[0][0], image)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "identities is missing"),
        ("identities=3", "images is missing"),
        ("images=3", "identities is missing"),
        ("identities=3,images=4,sead=1", "no setting 'sead'"),
        ("identities=3,images=4,cache=1", "no setting 'cache'"),
        ("identities=3,images=4,", "no setting ''"),
        ("identities=3,,images=4", "no setting ''"),
        ("identities", "identities must be a whole number, got ''"),
        ("identities=,images=4", "identities must be a whole number, got ''"),
        ("identities=many,images=4", "identities must be a whole number, got 'many'"),
        ("identities=3.5,images=4", "identities must be a whole number, got '3.5'"),
        ("identities=3,images=4,images=5", "images is given twice"),
        ("identities=0,images=4", "identities must be 1 to 1,000,000, got 0"),
        ("identities=-3,images=4", "identities must be 1 to 1,000,000, got -3"),
        ("identities=3,images=0", "images of each identity must be 1 to 10,000, got 0"),
        ("identities=1000001,images=4", "identities must be 1 to 1,000,000, got 1000001"),
        (f"identities={'9' * 60},images=4", "identities must be 1 to 1,000,000, got 99999"),
        (f"identities={'9' * 6000},images=4", "identities must be a whole number, got '99999"),
        ("identities=3,images=10001", "images of each identity must be 1 to 10,000, got 10001"),
        ("identities=100001,images=1000", "a set has at most 100,000,000 images, not 100,001 times 1,000"),
        ("identities=3,images=4,first=-1", "first must be 0 to 999,999, got -1"),
        ("identities=3,images=4,first=999998", "first and identities together must be at most 1,000,000"),
        ("identities=3,images=4,seed=-1", "seed must be 0 to 9,223,372,036,854,775,807, got -1"),
        (f"identities=3,images=4,seed={2**63}", "seed must be 0 to 9,223,372,036,854,775,807, got 92233720"),
        ("identities=3,images=4,heterogeneity=much", "heterogeneity must be a number, got 'much'"),
        ("identities=3,images=4,heterogeneity=-0.1", "heterogeneity must be 0 to 2, got -0.1"),
        ("identities=3,images=4,heterogeneity=2.1", "heterogeneity must be 0 to 2, got 2.1"),
        ("identities=3,images=4,heterogeneity=nan", "heterogeneity must be 0 to 2, got nan"),
        ("identities=3,images=4,heterogeneity=inf", "heterogeneity must be 0 to 2, got inf"),
        ("identities=3,images=4,appearance=odd", "appearance must be one of varying, frozen, redrawn, got 'odd'"),
    ],
)
def test_a_wrong_description_is_an_error_that_names_what_there_is(settings, message):
    with pytest.raises(InputError) as error:
        open_dataset(f"synthetic:{settings}")
    told = str(error.value)
    assert told.startswith(f"synthetic:{settings}: {message}")
    assert told.endswith(
        "; synthetic faces are synthetic:identities=N,images=K and, where wanted, seed=N, heterogeneity=S, first=N, "
        "appearance=varying|frozen|redrawn"
    )
    assert "\n" not in told


def test_the_bare_word_and_unknown_options_are_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^synthetic: identities is missing"):
        open_dataset("synthetic")
    with pytest.raises(InputError, match="no option 'size'; it knows cache"):
        open_dataset("synthetic:identities=3,images=4", size=112)
    with pytest.raises(InputError, match=r"^synthetic-faces: cannot be read"):
        open_dataset("synthetic-faces")
