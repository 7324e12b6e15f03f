"""Among the images, what is no file is a damaged image, for every command; as an argument it is refused in one line."""

from pathlib import Path

import pytest
from command_line import done, refused, run
from conftest import write_pairs, write_people
from special_files import SPECIAL, within

from elasticface.faces.landmarks import COLUMNS

ODD = "person_01/person_01_0002"


# The kinds that are met in different ways: what opening says of the others, the readers' tests tell.
@pytest.fixture(params=["pipe", "endless device", "folder", "link to nothing"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _in_an_empty_folder_and_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with within(60):
        yield


@pytest.fixture
def reason(kind: str) -> str:
    """Four people of five photos in `faces`, one of which is no file; and what is to be said of that one."""
    faces = write_pairs(write_people(Path("faces"), 4, 5), 4, 5)
    rows = [f"{p.relative_to(faces)},1,38,51,73,51,56,71,41,92,70,92" for p in sorted(faces.rglob("*.png"))]
    Path("points.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    make, reason = SPECIAL[kind]
    odd = faces / f"{ODD}.png"
    odd.unlink()
    make(odd)
    return reason


def test_train_skips_it_with_worker_processes_and_without(reason: str) -> None:
    for workers in (0, 2):
        command = f"train faces --out run{workers} --backbone tiny --loss arcface --epochs 1 --batch-size 8"
        code, _, told = run(*command.split(), "--workers", str(workers), "--max-damaged", "0.1")
        assert code == 0, told
        assert f"skipped: faces/{ODD}.png: cannot be read: {reason}" in told
        assert (Path(f"run{workers}") / "model" / "model.json").is_file()


def test_align_skips_it(reason: str) -> None:
    told = done(*"align faces out --landmarks points.csv --workers 2".split())
    assert "aligned to 112x112 jpg: 19\nphotos skipped: 1\n" in told
    assert f"{ODD}.png: cannot be read: {reason}" in told or f"{ODD}.png: a link that leads out of the folder" in told


@pytest.mark.parametrize("to", ["folder", "recordio", "shards"])
def test_convert_leaves_it_out(reason: str, to: str) -> None:
    assert "damaged and left out: 1" in done("convert", "faces", "out", "--to", to)
    assert f"cannot be read: {reason}" in Path("out/bad_items.jsonl").read_text()


def test_split_leaves_it_out(reason: str) -> None:
    code, _, told = run(*"split faces out --people 2 --pairs 20".split())
    assert code == 0, told
    assert f"left out: 1 images that are no files, such as {ODD}.png" in told
    assert len([path for path in Path("out").rglob("*.png") if path.is_file()]) == 19


def test_evaluate_and_pack_skip_it_or_name_it(kind: str, reason: str, model: Path) -> None:
    """A link that leads out of the folder is no photo of it, whatever it leads to."""
    for command in (["evaluate", model, "faces", "--out", "results"], ["pack", "faces", "faces.bin"]):
        code, out, told = run(*command)
        if "device" in kind:
            assert (code, told.count("\n")) == (2, 1)
            assert f"no photo {ODD} there" in told
        else:
            assert f"{ODD}.png: cannot be read: {reason}" in out + told


ARGUMENTS = {
    "train data/x --out run": "x",
    "train data --out run": "train.rec",
    "train data/x.rec --out run": "x.rec",
    "train data/x.tar --out run": "x.tar",
    "convert data/x out --to folder": "x",
    "split data/x out --people 2": "x",
    "align data/x.tar out --landmarks good.csv": "x.tar",
    "align photos out --landmarks data/x.csv": "x.csv",
    "align photos out --landmarks good.csv --identities data/x.txt": "x.txt",
    "pack photos out.bin --pairs data/pairs.txt": "pairs.txt",
    "pack data/x.bin out.bin": "x.bin",
    "evaluate data/x.onnx photos": "x.onnx",
    "evaluate data/x.pth photos --backbone tiny": "x.pth",
    "compare data/x.json data/x.json": "x.json",
    "compare data": "results.json",
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_as_an_argument_it_is_refused_in_one_line_that_names_it(kind: str, command: str) -> None:
    if kind == "folder" and ("data/x " in command or "x.tar" in command):
        pytest.skip("a folder is what belongs there")
    for folder in ("data", "photos/a"):
        Path(folder).mkdir(parents=True)
    Path("good.csv").write_text(",".join(COLUMNS) + "\na/1.png,1,38,51,73,51,56,71,41,92,70,92\n")
    Path("photos/a/1.png").write_bytes(b"")
    make, _ = SPECIAL[kind]
    make(Path("data", ARGUMENTS[command]))
    assert "data" in refused(*command.split())
