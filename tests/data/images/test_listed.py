"""Listed photos: photos are found by a list's names for them, or it is said at once that none is there."""

import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.data.images.decoding import DamagedImage
from elasticface.data.images.listed import Finder, ListedPhotos
from elasticface.data.images.photos import Photos


def folder_of(root: Path, names: Iterable[str]) -> Path:
    """Files that hold their own names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def place_of(kind: str, tmp_path: Path, names: Iterable[str]) -> Path:
    """A folder, or a tar of it."""
    root = folder_of(tmp_path / "loose_crop", names)
    if kind == "folder":
        return root
    with tarfile.open(tmp_path / "loose_crop.tar", "w") as tar:
        tar.add(root, ".")
    return tmp_path / "loose_crop.tar"


def contents(place: Path, listed: list[str]) -> list[str | None]:
    photos = ListedPhotos(Photos(place), listed)

    def content(name: str) -> str | None:
        try:
            return photos.read(name).decode()
        except DamagedImage:
            return None

    return [content(name) for name in listed]


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize(
    ("there", "listed", "expected"),
    [
        (["1.jpg", "2.jpg"], ["2.jpg", "1.jpg"], ["2.jpg", "1.jpg"]),
        (["1.jpg", "2.jpg"], ["3.jpg", "2.jpg"], [None, "2.jpg"]),
        (["1.png", "2.jpg"], ["1.jpg", "2.jpg"], ["1.png", "2.jpg"]),
        (["1.JPG"], ["1.jpg"], ["1.JPG"]),
        (["1.png", "1.jpg"], ["1.jpg"], ["1.jpg"]),
        (["a/b.c/1.png"], ["a/b.c/1.jpg"], ["a/b.c/1.png"]),
        (["photo.png", "x.png"], ["photo.v1", "x.png"], [None, "x.png"]),  # .v1 is no image's suffix
        (["1.v2", "2.jpg"], ["1.v2"], ["1.v2"]),  # a file of no image's suffix that is listed
        (["x/1.jpg", "x/2.jpg"], ["1.jpg", "2.jpg"], ["x/1.jpg", "x/2.jpg"]),
        (["x/1.jpg", "x/2.jpg"], ["1.jpg", "3.jpg"], ["x/1.jpg", None]),
        (["x/y/1.png"], ["1.jpg"], ["x/y/1.png"]),
        (["x/a/1.jpg", "x/b/1.jpg"], ["b/1.jpg", "a/1.jpg"], ["x/b/1.jpg", "x/a/1.jpg"]),
        (["x/a/1.jpg", "x/a/2.jpg"], ["a/2.jpg"], ["x/a/2.jpg"]),  # though all photos lie in x/a
        (["x/1.jpg", "x/x/1.jpg"], ["x/1.jpg"], ["x/1.jpg"]),
        (["x/1.jpg", "2.jpg"], ["1.jpg", "2.jpg"], [None, "2.jpg"]),  # not all lie in x
    ],
)
def test_photos_are_found_by_name_by_stem_and_below_a_common_folder(
    tmp_path: Path, kind: str, there: list[str], listed: list[str], expected: list[str | None]
) -> None:
    assert contents(place_of(kind, tmp_path, there), listed) == expected


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["x/1.jpg", "y/1.jpg"], r"none of the 2 images of the list, which begins with 1\.jpg; there is x/1\.jpg; "),
        (["3.jpg", "4.jpg"], r"none of the 2 .*; there is 3\.jpg; "),
        (["readme.txt"], r"none of the 2 .*; there are no images; "),
        (["x/y/3.png"], r"none of the 2 .*; there is x/y/3\.png; "),
    ],
)
def test_where_none_is_there_it_is_said_what_is(tmp_path: Path, kind: str, there: list[str], message: str) -> None:
    mend = "put them there under the list's names$"
    if kind == "tar":
        mend = r"make it of the folder that the list's names begin in: `tar cf loose_crop\.tar -C FOLDER \.`$"
    with pytest.raises(InputError, match=rf"loose_crop(\.tar)?: {message}{mend}"):
        ListedPhotos(Photos(place_of(kind, tmp_path, there)), ["1.jpg", "2.jpg"])


def test_photos_that_were_left_out_are_said(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", ["other.jpg"])
    (root / "link").symlink_to(folder_of(tmp_path / "elsewhere", ["1.jpg"]))
    with pytest.raises(InputError, match=r"there is other\.jpg \(1 left out, such as link: a link to a folder\)"):
        ListedPhotos(Photos(root), ["link/1.jpg"])


def test_a_linked_folder_of_the_same_place_is_read(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", ["a/1.jpg"])
    (root / "link").symlink_to(root / "a")
    assert contents(root, ["link/1.jpg"]) == ["a/1.jpg"]


NAMES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "a/", "a/b/"]),
    st.sampled_from("12"),
    st.sampled_from(["", ".jpg", ".png", ".x"]),
)


@given(there=st.lists(NAMES, unique=True), name=NAMES)
def test_the_finder_is_the_longhand(there: list[str], name: str) -> None:
    def stem(text: str) -> str:
        return text.removesuffix(".jpg").removesuffix(".png")

    alike = [name] if name in there else sorted(other for other in there if stem(other) == stem(name))
    if len(alike) < 2:
        assert Finder(there).find(name) == (alike[0] if alike else None)
        return
    several = f"{name} may be {alike[0]} and {alike[1]}; keep the one that is meant"
    with pytest.raises(InputError) as caught:
        Finder(there).find(name)
    assert str(caught.value) == several
    with pytest.raises(InputError) as caught:
        Finder(there).require(name, "pairs.txt, row 3")
    assert str(caught.value) == f"pairs.txt, row 3: {several}"
