"""Any benchmark from its path: each kind is known by what lies in it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs, write_people
from large import patch_encoder, write_ijb, write_megaface

from elasticface.base.errors import InputError
from elasticface.benchmarks.ijb.protocol import IjbBenchmark, TemplateOptions
from elasticface.benchmarks.megaface.protocol import MegaFaceBenchmark
from elasticface.benchmarks.opening import is_features, measure, open_benchmark, open_benchmarks
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.benchmarks.pairwise.packing import pack
from elasticface.benchmarks.reading.features import FeatureFiles


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


def test_each_kind_is_known_by_what_lies_in_it(tmp_path: Path, people: Path) -> None:
    write_ijb(tmp_path / "b", "ijbb", pictures=False)
    write_ijb(tmp_path / "c", "ijbc", pictures=False)
    write_megaface(tmp_path / "m")
    found = open_benchmarks([tmp_path / "b", tmp_path / "c", tmp_path / "m", people])
    assert [type(benchmark) for benchmark in found] == [IjbBenchmark, IjbBenchmark, MegaFaceBenchmark, PairBenchmark]
    assert [benchmark.name for benchmark in found] == ["IJB-B", "IJB-C", "MegaFace", "faces"]


def test_options_reach_the_benchmark(tmp_path: Path) -> None:
    write_ijb(tmp_path / "c", pictures=False)
    write_megaface(tmp_path / "m")
    options = TemplateOptions(keep_norm=False, weigh_by_detector_score=True, add_mirror_image=False)
    ijb, megaface = open_benchmarks([tmp_path / "c", tmp_path / "m"], options=options)
    assert isinstance(ijb, IjbBenchmark)
    assert ijb.options == options
    assert isinstance(megaface, MegaFaceBenchmark)
    assert not megaface.add_mirror_image


def test_a_list_of_pairs_makes_photos_of_any_folder(tmp_path: Path, people: Path) -> None:
    shutil.copytree(people, tmp_path / "faces")
    write_ijb(tmp_path / "faces", pictures=False)
    assert isinstance(open_benchmark(tmp_path / "faces")[0], IjbBenchmark)
    assert isinstance(open_benchmark(tmp_path / "faces", tmp_path / "faces" / "pairs.txt")[0], PairBenchmark)


def test_the_folder_above_ijb_says_which_to_give(tmp_path: Path) -> None:
    write_ijb(tmp_path / "IJBC", pictures=False)
    with pytest.raises(InputError, match=r"not a benchmark itself; give .*/IJBC"):
        open_benchmark(tmp_path)


@pytest.mark.parametrize("name", ["absent", "."])
def test_what_is_no_benchmark_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"no such folder or tar|no pairs\.txt in it"):
        open_benchmark(tmp_path / name)


def test_features_are_told_from_models(tmp_path: Path, people: Path) -> None:
    for name in ("megaface", "facescrub"):
        assert not is_features(tmp_path)
        (tmp_path / name).mkdir()
    assert is_features(tmp_path)
    assert is_features("some.npy")
    assert not is_features("some.onnx")
    assert not is_features(people)


def test_pairs_need_a_model(tmp_path: Path, people: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(InputError, match=r"faces: needs a model; .*f\.npy is features"):
        measure(FeatureFiles(tmp_path / "f.npy"), open_benchmark(people)[0], True, tmp_path)


def test_every_kind_is_measured(tmp_path: Path, people: Path) -> None:
    write_ijb(tmp_path / "c", subjects=4)
    write_megaface(tmp_path / "m", people=3, distractors=10, pictures=True)
    names = []
    for path in (people, tmp_path / "c", tmp_path / "m"):
        names += [r.benchmark for r in measure(patch_encoder(), open_benchmark(path)[0], True, tmp_path / "features")]
    assert names == ["faces", "IJB-C 1:1", "IJB-C 1:N", "MegaFace", "MegaFace (R)"]
    assert len(list((tmp_path / "features").iterdir())) == 3
