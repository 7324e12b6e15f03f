"""Any benchmark from its path: each kind is known by what lies in it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from large import patch_encoder, write_ijb, write_megaface

from elasticface.benchmarks.features import FeatureFiles
from elasticface.benchmarks.ijb import IjbBenchmark, TemplateOptions
from elasticface.benchmarks.megaface import MegaFaceBenchmark
from elasticface.benchmarks.opening import is_features, measure, open_benchmark, open_benchmarks
from elasticface.benchmarks.pairs import PairBenchmark
from elasticface.errors import InputError


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


def test_two_of_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_ijb(tmp_path / name, "ijbb", pictures=False)
    write_ijb(tmp_path / "c", pictures=False)
    paths = [tmp_path / name for name in ("one", "two", "c")]
    assert [benchmark.name for benchmark in open_benchmarks(paths)] == [*map(str, paths[:2]), "IJB-C"]
