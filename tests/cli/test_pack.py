"""`elasticface pack`: a pack has the figures of what it was made from."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import done, refused, words, write_landmarks
from conftest import write_pairs, write_people


@pytest.fixture(scope="module")
def ten_folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(write_people(tmp_path_factory.mktemp("ten") / "lfw", 6, 6), 6, 6, folds=10)


def results(folder: str = "results") -> list[dict[str, Any]]:
    """The figures, without where the scores are and what is resampled: the people on a pack's images have no names."""
    found = json.loads(Path(folder, "results.json").read_text())["results"]
    unlike = ("stored", "intervals", "intervals_by")
    return [{key: value for key, value in result.items() if key not in unlike} for result in found]


def test_a_folder_then_its_pack_has_the_same_figures(ten_folds: Path, model: Path) -> None:
    out = done("pack", ten_folds, "lfw.bin")
    assert out == f"60 pairs of 36 images; {Path('lfw.bin').stat().st_size:,} bytes\nlfw.bin\n"
    shutil.copy("lfw.bin", "agedb_30.bin")
    done("evaluate", model, "lfw.bin", "agedb_30.bin", "--out", "packs")
    done("evaluate", model, ten_folds, "--out", "folder")
    (folder,) = results("folder")
    for result, name in zip(results("packs"), ("lfw", "agedb_30"), strict=True):
        assert result == {**folder, "benchmark": name}
    assert "000000" in Path("packs/report.html").read_text()


def test_photos_with_landmarks_are_packed_aligned(ten_folds: Path, model: Path) -> None:
    names = [path.relative_to(ten_folds).as_posix() for path in ten_folds.rglob("*.png")]
    landmarks = write_landmarks(Path("five.csv"), names)
    options = ("--pairs", ten_folds / "pairs.txt", "--landmarks", landmarks)
    assert "36 aligned or stored again as PNG" in done("pack", ten_folds, "new/lfw.bin", *options)
    done("evaluate", model, "new/lfw.bin", "--out", "pack")
    done("evaluate", model, ten_folds, *options, "--out", "photos")
    assert results("pack") == results("photos")


def test_a_pack_that_is_there_is_only_overwritten_when_told(ten_folds: Path) -> None:
    Path("lfw.bin").write_bytes(b"old")
    assert "lfw.bin: is there already; give another name, or --overwrite" in refused("pack", ten_folds, "lfw.bin")
    assert "60 pairs" in done("pack", ten_folds, "lfw.bin", "--overwrite")


def test_a_pack_that_would_run_something_is_refused_in_one_line(model: Path) -> None:
    Path("evil.bin").write_bytes(b"\x80\x02]q\x00cposix\nsystem\nX\x09\0\0\0touch ran\x85Ra]\x86.")
    assert "evil.bin: refused: it asks for posix.system" in refused("evaluate", model, "evil.bin")
    assert "evil.bin: refused: it asks for posix.system" in refused("pack", "evil.bin", "good.bin")


def write_cfp(root: Path, faces: Path) -> Path:
    """The photos of ``faces`` as CFP has them, person 1 to 6 with four frontal and two profile photos."""
    for person, folder in enumerate(sorted(path for path in faces.iterdir() if path.is_dir()), 1):
        for number, photo in enumerate(sorted(folder.iterdir())):
            kind, place = ("frontal", number) if number < 4 else ("profile", number - 4)
            target = root / "Data" / "Images" / f"{person:03d}" / kind / f"{place + 1:02d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, target)
    (root / "Protocol").mkdir()
    for letter, kind, count in (("F", "frontal", 4), ("P", "profile", 2)):
        paths = [f"../Data/Images/{p:03d}/{kind}/{n:02d}.jpg" for p in range(1, 7) for n in range(1, count + 1)]
        rows = "".join(f"{number} {path}\n" for number, path in enumerate(paths, 1))
        (root / "Protocol" / f"Pair_list_{letter}.txt").write_text(rows)
    for kind, same, diff in (("FP", "1,1\n6,4\n", "1,5\n6,2\n"), ("FF", "1,2\n5,7\n", "1,5\n6,12\n")):
        for split in range(1, 11):
            folder = root / "Protocol" / "Split" / kind / f"{split:02d}"
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text(same)
            (folder / "diff.txt").write_text(diff)
    return root


def test_cfp_is_measured_as_two_benchmarks_and_packed_as_one_of_them(ten_folds: Path, model: Path) -> None:
    write_cfp(Path("cfp-dataset"), ten_folds)
    done("evaluate", model, "cfp-dataset")
    found = results()
    assert [result["benchmark"] for result in found] == ["cfp_fp", "cfp_ff"]
    assert [result["counts"]["pairs"] for result in found] == [40, 40]
    assert "name the file after one, as cfp_fp.bin" in refused("pack", "cfp-dataset", "cfp.bin")
    done("pack", "cfp-dataset", "cfp_ff.bin")
    done("evaluate", model, "cfp_ff.bin", "--out", "pack")
    assert results("pack") == found[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pack", "dir"),
        ("pack FACES", "out"),
        ("pack absent out.bin", "absent: no such folder or tar"),
        ("pack FACES out.pkl", "out.pkl: a pack's name ends in .bin"),
        ("pack FACES /dev/null/out.bin", "cannot be written"),
        ("pack FACES out.bin --size 0", "--size must be 1 to 4096, not 0"),
        ("pack FACES out.bin --pairs absent.txt", "absent.txt: cannot be read"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))
