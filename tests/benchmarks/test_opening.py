"""What a path on the command line is taken for, and how benchmarks of one name are told apart."""

import shutil
from pathlib import Path

import pytest
from conftest import write_pairs, write_people

from elasticface.benchmarks.opening import open_benchmark, open_benchmarks
from elasticface.benchmarks.packing import pack
from elasticface.benchmarks.pairs import open_pairs
from elasticface.errors import InputError


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(write_people(tmp_path_factory.mktemp("ten") / "faces", 6, 6), 6, 6, folds=10)


@pytest.fixture
def cfp(faces: Path, tmp_path: Path) -> Path:
    """A folder in CFP's layout with other photos."""
    root = tmp_path / "cfp"
    shutil.copytree(faces, root / "Data", ignore=shutil.ignore_patterns("pairs.txt"))
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [f"{number} ../{name}\n" for number, name in enumerate(names, 1)]
    for kind in ("FP", "FF"):
        for split in range(1, 11):
            folder = root / "Protocol" / "Split" / kind / f"{split:02d}"
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text("1,2\n")
            (folder / "diff.txt").write_text("1,9\n")
    for letter in "FP":
        (root / "Protocol" / f"Pair_list_{letter}.txt").write_text("".join(rows))
    return root


def names(*paths: str | Path, **options: Path) -> list[str]:
    return [benchmark.name for benchmark in open_benchmarks(paths, **options)]


def test_packs_folders_and_cfp_are_told_apart(faces: Path, cfp: Path, tmp_path: Path) -> None:
    pack(open_pairs(faces), tmp_path / "lfw.bin")
    shutil.copy(tmp_path / "lfw.bin", tmp_path / "agedb_30.BIN")
    assert names(tmp_path / "lfw.bin", tmp_path / "agedb_30.BIN", faces, cfp) == [
        "lfw",
        "agedb_30",
        "faces",
        "cfp_fp",
        "cfp_ff",
    ]


def test_pairs_txt_goes_before_cfps_lists(faces: Path, cfp: Path) -> None:
    assert names(cfp, pairs=cfp / "Protocol") == ["cfp_fp", "cfp_ff"]
    (cfp / "pairs.txt").write_text("10\t1\n" + "Data/person_00/person_00_0001\tData/person_00/person_00_0002\t1\n" * 9)
    with open(cfp / "pairs.txt", "a") as file:
        file.write("Data/person_00/person_00_0001\tData/person_01/person_01_0001\t0\n")
    assert names(cfp) == ["cfp"]
    assert names(cfp, pairs=cfp / "Protocol") == ["cfp_fp", "cfp_ff"]


def test_cfps_lists_may_be_given_for_photos_elsewhere(cfp: Path, tmp_path: Path) -> None:
    (cfp / "Protocol").rename(tmp_path / "lists")
    assert [benchmark.name for benchmark in open_benchmark(cfp, tmp_path / "lists")] == ["cfp_fp", "cfp_ff"]
    with pytest.raises(InputError, match=r"no pairs\.txt in it"):
        open_benchmark(cfp)


def test_benchmarks_of_one_name_get_their_paths(faces: Path, cfp: Path, tmp_path: Path) -> None:
    pack(open_pairs(faces), tmp_path / "faces.bin")
    assert names(faces, tmp_path / "faces.bin") == [str(faces), str(tmp_path / "faces.bin")]
    other = shutil.copytree(cfp, tmp_path / "other")
    assert names(cfp, other, faces) == [
        f"{cfp}: cfp_fp",
        f"{cfp}: cfp_ff",
        f"{other}: cfp_fp",
        f"{other}: cfp_ff",
        "faces",
    ]


def test_a_path_given_twice_is_refused(faces: Path) -> None:
    with pytest.raises(InputError, match="faces: is given twice"):
        open_benchmarks([faces, str(faces)])
