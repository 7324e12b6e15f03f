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

from elasticface.base.errors import InputError
from elasticface.benchmarks.megaface.files import (
    MegaFaceFiles,
    is_megaface,
    open_feature_folder,
    read_matrix,
    read_megaface,
)
from elasticface.benchmarks.megaface.protocol import open_megaface
from elasticface.benchmarks.reading.features import FeatureFiles

FREELY = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def with_noise(root: Path, probes: str, distractors: str) -> MegaFaceFiles:
    (root / "facescrub_noises.txt").write_text(probes)
    (root / "megaface_noises.txt").write_text(distractors)
    return read_megaface(root)


def noise_of(files: MegaFaceFiles) -> tuple[list[int], list[int]]:
    assert files.noisy_probes is not None
    assert files.noisy_distractors is not None
    return np.flatnonzero(files.noisy_probes).tolist(), np.flatnonzero(files.noisy_distractors).tolist()


def test_the_published_forms_of_noise_are_found(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    probes = [rows.probes[row].rpartition("/")[2] for row in (0, 4)]
    found = with_noise(
        tmp_path,
        "\n".join(probes) + "\n",
        "#Please strictly follow the rules\n" + "\n".join(rows.distractors[row] for row in (1, 6, 7)) + "\n",
    )
    assert noise_of(found) == ([0, 4], [1, 6, 7])
    assert found.noise_notes == ()


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ""])
def test_noise_may_have_another_suffix_than_the_list(tmp_path: Path, suffix: str) -> None:
    rows = write_megaface(tmp_path)

    def renamed(name: str) -> str:
        return name.rpartition("/")[2].rpartition(".")[0] + suffix

    one = renamed(rows.probes[0]) + "\n" + rows.probes[4].rpartition("/")[2]
    found = with_noise(tmp_path, one, rows.distractors[6].rpartition(".")[0] + suffix)
    assert noise_of(found) == ([0, 4], [6])
    assert found.noise_notes == ()


def test_of_two_images_that_differ_in_their_suffix_the_one_that_is_named_is_noise(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    (tmp_path / "megaface_lst").write_text("1/2/a.jpg\n1/2/a.png\n1/2/b.jpg\n")
    (tmp_path / "megaface_features_list.json_1000000_1").unlink()
    assert noise_of(with_noise(tmp_path, rows.probes[0], "1/2/a.png"))[1] == [1]
    assert noise_of(with_noise(tmp_path, rows.probes[0], "1/2/a.bmp"))[1] == [0, 1]


def test_how_many_names_of_noise_are_found_is_said_where_it_is_not_all(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    gone = "".join(f"9/9/{number}.jpg\n" for number in range(1999))
    found = with_noise(tmp_path, f"{rows.probes[0]}\nNobody_1.png\n", f"{rows.distractors[3]}\n{gone}")
    assert noise_of(found) == ([0], [3])
    assert found.noise_notes == (
        "1 of 2 names of facescrub_noises.txt are in the list of probes",
        "1 of 2,000 names of megaface_noises.txt are in the list of distractors",
    )


NONE = {
    "facescrub": "no MegaFace (R): 0 of 1 names of facescrub_noises.txt are in the list of probes",
    "megaface": "no MegaFace (R): 0 of 1 names of megaface_noises.txt are in the list of distractors",
}


@pytest.mark.parametrize("which", ["facescrub", "megaface"])
def test_a_list_of_noise_of_other_images_leaves_megaface_and_says_so(tmp_path: Path, which: str) -> None:
    rows = write_megaface(tmp_path)
    with_noise(tmp_path, rows.probes[0], rows.distractors[0])
    (tmp_path / f"{which}_noises.txt").write_text("9/9/9.jpg\n")
    found = read_megaface(tmp_path)
    assert (found.noisy_probes, found.noisy_distractors, found.noise_notes) == (None, None, (NONE[which],))
    write_features(tmp_path / "features", rows, *features(rows))
    results = open_megaface(tmp_path).measure(FeatureFiles(tmp_path / "features"), tmp_path / "kept")
    assert [result.benchmark for result in results] == ["MegaFace"]
    assert results[0].notes[-1] == NONE[which]


def test_results_of_the_refined_one_say_what_noise_was_not_found(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    with_noise(tmp_path, f"{rows.probes[0]}\nNobody_1.png\n", rows.distractors[3])
    write_features(tmp_path / "features", rows, *features(rows))
    plain, refined = open_megaface(tmp_path).measure(FeatureFiles(tmp_path / "features"), tmp_path / "kept")
    assert refined.benchmark == "MegaFace (R)"
    assert (refined.counts["noisy_probes"], refined.counts["noisy_distractors"]) == (1, 1)
    assert refined.departures == ("1 of 2 names of facescrub_noises.txt are in the list of probes",)
    assert not any("noises" in note for note in plain.departures + plain.notes)


@pytest.mark.parametrize("content", ["", "# none\n"])
def test_an_empty_list_of_noise_leaves_megaface(tmp_path: Path, content: str) -> None:
    rows = write_megaface(tmp_path)
    said = with_noise(tmp_path, content, rows.distractors[3]).noise_notes
    assert said == ("no MegaFace (R): 0 of 0 names of facescrub_noises.txt are in the list of probes",)


@pytest.mark.parametrize("which", ["facescrub", "megaface"])
def test_one_list_of_noise_alone_is_refused(tmp_path: Path, which: str) -> None:
    write_megaface(tmp_path)
    (tmp_path / f"{which}_noises.txt").unlink()
    with pytest.raises(InputError, match=rf"{which}_noises\.txt: missing"):
        read_megaface(tmp_path)


# ---------------------------------------------------------------------------------------------- lists


def plain_lists(root: Path, probes: str, distractors: str) -> MegaFaceFiles:
    (root / "facescrub_lst").write_text(probes)
    (root / "megaface_lst").write_text(distractors)
    return read_megaface(root)


def test_absolute_paths_of_plain_lists_count_by_their_last_parts(tmp_path: Path) -> None:
    probes = "/data/facescrub_images/Al_B/Al_B_1.png\n./Al_B/Al_B_2.png\n/Cy/Cy_1.png\nCy/Cy_2.png\n"
    distractors = (
        "/data/../megaface_images/100/1@N00/2_0.jpg\n/101/1@N00/2_0.jpg\n./102/1@N00/2_0.jpg\ndeep/er/3/4/5.jpg\n"
    )
    found = plain_lists(tmp_path, probes, distractors)
    assert found.probes == ["Al_B/Al_B_1.png", "Al_B/Al_B_2.png", "Cy/Cy_1.png", "Cy/Cy_2.png"]
    assert found.people == ["Al_B", "Al_B", "Cy", "Cy"]
    assert found.distractors == ["100/1@N00/2_0.jpg", "101/1@N00/2_0.jpg", "102/1@N00/2_0.jpg", "deep/er/3/4/5.jpg"]


PROBES, DISTRACTORS = "Al/1.png\nAl/2.png\n", "1/2/3.jpg\n"


@pytest.mark.parametrize(
    ("probes", "distractors", "message"),
    [
        (PROBES + "/x/Al/1.png\n", DISTRACTORS, r"facescrub_lst, path 3: Al/1\.png is path 1 already"),
        (PROBES, "/a/1/2/3.jpg\n/b/1/2/3.jpg\n", r"megaface_lst, path 2: 1/2/3\.jpg is path 1 already"),
        (PROBES + "/x/../1.png\n", DISTRACTORS, r"facescrub_lst, path 3: a path with \.\."),
        (PROBES + "../1.png\n", DISTRACTORS, r"facescrub_lst, path 3: a path with \.\."),
        (PROBES, "/1/../3.jpg\n", r"megaface_lst, path 1: a path with \.\."),
        (PROBES, "/2/3.jpg\n", "megaface_lst, path 1: an absolute path"),
        (PROBES, "//2/3.jpg\n", "megaface_lst, path 1: an absolute path"),
        (PROBES, "/1/2/\n", "megaface_lst, path 1: an absolute path"),
        (PROBES, "1\\..\\..\\3.jpg\n", "megaface_lst, path 1: a backslash or NUL"),
        (PROBES + "3.png\n", DISTRACTORS, r"facescrub_lst, path 3: does not say who it is: 3\.png"),
        (PROBES + "/3.png\n", DISTRACTORS, "facescrub_lst, path 3: an absolute path"),
    ],
)
def test_a_wrong_plain_list_is_refused(tmp_path: Path, probes: str, distractors: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plain_lists(tmp_path, probes, distractors)


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path)
    number = {name: n for n, name in enumerate(dict.fromkeys(rows.people))}
    content = {"id": [number[name] for name in rows.people], "path": rows.probes}
    (tmp_path / "facescrub_features_list.json").write_text(json.dumps(content))
    assert read_megaface(tmp_path).people == [str(number[name]) for name in rows.people]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", '"path" must be a list of texts'),
        ('{"path": "a"}', '"path" must be a list of texts'),
        ('{"path": ["a", 1], "id": ["x", "x"]}', '"path" must be a list of texts'),
        ('{"path": ["a"]}', '"id" must be a list of texts or whole numbers'),
        ('{"path": ["a"], "id": [true]}', '"id" must be a list of texts or whole numbers'),
        ('{"path": ["a"], "id": [1.5]}', '"id" must be a list of texts or whole numbers'),
        ('{"path": ["a"], "id": [' + "9" * 5000 + "]}", "not valid JSON"),
        ('{"path": ["a", "b"], "id": ["x"]}', "1 ids for 2 paths"),
        ('{"path": ["a", "b"], "id": ["x", ""]}', "path 2: does not say who it is: b"),
        ('{"path": ["a", "b"], "id": [1, 2]}', "nobody has two photos"),
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
        assert found.people == [str(value) for value in content["id"]]


def test_a_list_that_is_too_large_or_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_megaface(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("elasticface.benchmarks.megaface.files._MOST_LIST_BYTES", 10)
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
