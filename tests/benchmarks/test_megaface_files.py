"""MegaFace's lists and matrix files: what the devkit writes is read, and what is wrong is one clear line."""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from large import write_features, write_matrix, write_megaface

from elasticface.benchmarks.megaface_files import is_megaface, open_feature_folder, read_matrix, read_megaface
from elasticface.errors import InputError

FREELY = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_lists_are_read_in_their_order(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    found = read_megaface(tmp_path)
    assert is_megaface(tmp_path)
    assert (found.probes, found.people, found.distractors) == (rows.probes, rows.people, rows.distractors)


def test_the_devkits_folders_and_the_list_of_most_images_are_found(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    lists = tmp_path / "devkit" / "templatelists"
    lists.mkdir(parents=True)
    for path in tmp_path.glob("*_features_list*"):
        path.rename(lists / path.name)
    for size, draw in ((10, 1), (100000, 1), (1000000, 2), (1000000, 10)):
        (lists / f"megaface_features_list.json_{size}_{draw}").write_text("broken")
    assert read_megaface(tmp_path).distractors == rows.distractors


def test_plain_lists_say_who_it_is_by_their_folders(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    for path in tmp_path.glob("*_features_list*"):
        path.unlink()
    (tmp_path / "facescrub_lst").write_text("\n".join(rows.probes) + "\n\n")
    (tmp_path / "megaface_lst").write_text("\r\n".join(rows.distractors))
    found = read_megaface(tmp_path)
    assert (found.probes, found.people, found.distractors) == (rows.probes, rows.people, rows.distractors)


def test_the_order_of_keys_and_further_keys_do_not_matter(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    content = {"id": rows.people, "more": [1], "path": rows.probes}
    (tmp_path / "facescrub_features_list.json").write_text(json.dumps(content))
    assert read_megaface(tmp_path).people == rows.people


def test_noise_is_found_by_the_end_of_the_path(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    found = read_megaface(tmp_path)
    assert found.noisy_probes is not None
    assert found.noisy_distractors is not None
    assert np.flatnonzero(found.noisy_probes).tolist() == [5]
    assert np.flatnonzero(found.noisy_distractors).tolist() == [3, 8]
    (tmp_path / "megaface_noises.txt").write_text(f"# one\n  ./{rows.distractors[2]} \nx{rows.distractors[4]}\n")
    noisy = read_megaface(tmp_path).noisy_distractors
    assert noisy is not None
    assert np.flatnonzero(noisy).tolist() == [2]


def test_without_noise_lists_nothing_is_known_of_noise(tmp_path: Path) -> None:
    write_megaface(tmp_path)
    for path in tmp_path.glob("*_noises.txt"):
        path.unlink()
    found = read_megaface(tmp_path)
    assert (found.noisy_probes, found.noisy_distractors) == (None, None)


@pytest.mark.parametrize("which", ["facescrub", "megaface"])
def test_one_list_of_noise_alone_and_one_of_other_images_are_refused(tmp_path: Path, which: str) -> None:
    write_megaface(tmp_path)
    path = tmp_path / f"{which}_noises.txt"
    path.write_text("9/9/9.jpg\n")
    with pytest.raises(InputError, match=rf"{which}_noises\.txt: none of its 1 names is in the list"):
        read_megaface(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=rf"{which}_noises\.txt: missing"):
        read_megaface(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", '"path" must be a list of texts'),
        ('{"path": "a"}', '"path" must be a list of texts'),
        ('{"path": ["a", 1], "id": ["x", "x"]}', '"path" must be a list of texts'),
        ('{"path": ["a"]}', '"id" must be a list of texts'),
        ('{"path": ["a", "b"], "id": ["x"]}', "1 ids for 2 paths"),
        ('{"path": ["a"], "id": [1]}', '"id" must be a list of texts'),
        ('{"path": [], "id": []}', "no paths in it"),
        ('{"path": ["a", "/b"], "id": ["x", "x"]}', "path 2: an absolute path: /b"),
        ('{"path": ["a", "../b"], "id": ["x", "x"]}', r"path 2: a path with \.\."),
        ('{"path": ["a", "b\\u0000"], "id": ["x", "x"]}', "path 2: a backslash or NUL"),
        ('{"path": ["a", "b\\n"], "id": ["x", "x"]}', "path 2: no name of a file"),
        ('{"path": ["a", ""], "id": ["x", "x"]}', "path 2: no name of a file"),
        ('{"path": ["a", "b", "a"], "id": ["x", "x", "x"]}', "path 3: a is path 1 already"),
        ('{"path": ["a", "b"], "id": ["x", "y"]}', "nobody has two photos"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, content: str, message: str) -> None:
    write_megaface(tmp_path)
    (tmp_path / "facescrub_features_list.json").write_text(content)
    with pytest.raises(InputError, match=rf"facescrub_features_list\.json.*{message}") as caught:
        read_megaface(tmp_path)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "path", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@FREELY
@given(JSON)
def test_any_json_is_a_list_or_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "megaface_lst").write_text("1.jpg\n")
    (tmp_path / "facescrub_features_list.json").write_text(json.dumps(content))
    with contextlib.suppress(InputError):
        found = read_megaface(tmp_path)
        assert found.probes == content["path"]
        assert found.people == content["id"]


def test_a_list_that_is_too_large_or_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_megaface(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("elasticface.benchmarks.megaface_files._MOST_LIST_BYTES", 10)
        with pytest.raises(InputError, match="more than 10 bytes"):
            read_megaface(tmp_path)
    (tmp_path / "megaface_features_list.json_1000000_1").unlink()
    with pytest.raises(InputError, match=r"no megaface_features_list\.json and no megaface_lst"):
        read_megaface(tmp_path)


# ---------------------------------------------------------------------------------------------- features


@FREELY
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40), st.booleans())
def test_a_matrix_file_is_read_as_it_was_written(tmp_path: Path, values: list[float], lying: bool) -> None:
    feature = np.array(values, np.float32)
    header = (1, len(feature), 4 * len(feature), 5) if lying else None
    write_matrix(tmp_path / "f.bin", feature, header)
    assert np.array_equal(read_matrix(tmp_path / "f.bin"), feature)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ((4, 1, 4, 6), "OpenCV's type 6"),
        ((4, 1, 4, 0), "OpenCV's type 0"),
        ((5, 1, 4, 5), "32 bytes where its header says 36"),
        ((3, 1, 4, 5), "32 bytes where its header says 28"),
        ((4, 1, 8, 5), "a matrix of 4 x 1, 8 bytes a row"),
        ((2, 2, 8, 5), "a matrix of 2 x 2"),
        ((0, 1, 4, 5), "a matrix of 0 x 1"),
        ((-4, 1, 4, 5), "a matrix of -4 x 1"),
        ((1, -4, -16, 5), "a matrix of 1 x -4"),
        ((2**31 - 1, 1, 4, 5), "a matrix of 2147483647 x 1"),
        ((1, 2**31 - 1, -4, 5), "a matrix of 1 x 2147483647"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, header: tuple[int, ...], message: str) -> None:
    write_matrix(tmp_path / "f.bin", np.zeros(4, np.float32), header)
    with pytest.raises(InputError, match=rf"f\.bin: .*{message}"):
        read_matrix(tmp_path / "f.bin")


@FREELY
@given(st.binary(max_size=40))
def test_any_bytes_are_a_matrix_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f.bin").write_bytes(data)
    with contextlib.suppress(InputError):
        found = read_matrix(tmp_path / "f.bin")
        assert struct.unpack("<4i", data[:16])[3] == 5
        assert found.tobytes() == data[16:]


def features(rows: Any, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(len(n), size)).astype(np.float32) for n in (rows.probes, rows.distractors))


@pytest.mark.parametrize("form", ["bin", "npy"])
def test_features_are_read_in_the_order_of_the_lists(tmp_path: Path, form: str) -> None:
    rows = write_megaface(tmp_path / "megaface")
    given_features = features(rows)
    folder = tmp_path / "features"
    if form == "bin":
        write_features(folder, rows, *given_features)
    else:
        folder.mkdir()
        for which, values in zip(("facescrub", "megaface"), given_features, strict=True):
            np.save(folder / f"{which}.npy", values)
    for found, values in zip(
        open_feature_folder(folder, read_megaface(tmp_path / "megaface"), None), given_features, strict=True
    ):
        assert len(found) == len(values)
        some = np.array([7, 0, 3])
        assert np.array_equal(found.read(some), values[some])


def test_what_is_wrong_with_a_folder_of_features_is_said(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path / "megaface")
    files = read_megaface(tmp_path / "megaface")
    folder = tmp_path / "features"

    def refused(suffix: str | None = None) -> str:
        with pytest.raises(InputError) as caught:
            open_feature_folder(folder, files, suffix)[1].read(np.arange(len(rows.distractors)))
        return str(caught.value)

    folder.mkdir()
    assert "neither facescrub.npy nor a folder facescrub" in refused()
    write_features(folder, rows, *features(rows))
    assert "a part of a file's name" in refused("../r100")
    assert "_other.bin: cannot be read: No such file" in refused("other")
    ninth = folder / "megaface" / f"{rows.distractors[9]}_r100.bin"
    write_matrix(ninth, np.zeros(4, np.float32))
    assert f"{ninth}: 4 numbers where the first file has 5" in refused()
    ninth.unlink()
    assert f"{ninth}: cannot be read" in refused()
    write_matrix(tmp_path / "outside.bin", np.zeros(5, np.float32))
    ninth.symlink_to(tmp_path / "outside.bin")
    assert "a link that leads out of the folder" in refused()
    write_matrix(folder / "facescrub" / f"{rows.probes[0]}_r50.bin", np.zeros(5, np.float32))
    assert "2 of them (r100, r50); give --suffix" in refused()
    for path in (folder / "facescrub" / rows.probes[0]).parent.iterdir():
        path.unlink()
    assert "none; a feature an image is needed" in refused()
