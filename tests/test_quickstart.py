"""Quickstart: what it makes, that it goes on where it was stopped to the same end, and what it refuses."""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elasticface import heads, quickstart
from elasticface.base.errors import InputError, Stopped
from elasticface.cli import main
from elasticface.data import open_dataset
from elasticface.data.images import decoding
from elasticface.data.prepare.split import draw_pairs
from elasticface.data.synthetic.studio import Studio
from elasticface.quickstart import FOLDS, FULL, SMALL, QuickstartResult, Size

TINY = Size(people=6, photos=9, unseen_people=20, unseen_photos=3, pairs=80, epochs=2)


def run(out: Path, size: Size = TINY, seed: int = 0) -> QuickstartResult:
    return quickstart.quickstart(out, size, seed=seed, workers=1)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lasting(folder: Path) -> dict[str, bytes]:
    """What two quickstarts of the same arguments have in common: faces, pairs, the model's weights."""
    found = content(folder)
    wanted = r"(training|unseen)-people/.*(jpg|csv|txt)|run/model/model\.safetensors|quickstart\.json"
    return {name: data for name, data in found.items() if re.fullmatch(wanted, name)}


def figures(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())["results"]


render = Studio.image
photos: dict[Any, Any] = {}


def remembered(studio: Studio, identity: int, photo: int) -> Any:
    """A photo, rendered once for all tests: what is tested is what becomes of it."""
    key = studio.seed, studio.variation, identity, photo
    if key not in photos:
        photos[key] = render(studio, identity, photo)
    return photos[key]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, QuickstartResult]:
    out = tmp_path_factory.mktemp("quickstart") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Studio, "image", remembered)
        return out, run(out)


# ---------------------------------------------------------------------------------------------- what it makes


def test_a_model_is_judged_on_people_that_it_was_not_trained_on(made: tuple[Path, QuickstartResult]) -> None:
    out, _ = made
    training, unseen = (open_dataset(out / name) for name in ("training-people", "unseen-people"))
    assert (training.num_classes, len(training)) == (6, 54)
    assert (unseen.num_classes, len(unseen)) == (20, 60)
    assert not set(training.class_names) & set(unseen.class_names)
    assert len(lasting(out)) == 54 + 60 + 2 + 1 + 1 + 1  # what later tests compare
    seen = {path.read_bytes() for path in (out / "training-people").rglob("*.jpg")}
    assert len(seen) == 54
    assert not seen & {path.read_bytes() for path in (out / "unseen-people").rglob("*.jpg")}
    model, baseline = figures(out)
    assert (model["model"], baseline["model"]) == ("ElasticFace-Arc+", "whitened PCA")
    assert {result["benchmark"] for result in (model, baseline)} == {"unseen-people"}
    assert (model["counts"]["genuine"], model["counts"]["impostor"]) == (40, 40)
    card = json.loads((out / "run" / "model" / "model.json").read_text())
    assert card["training"] | {"identities": 6, "images": 54, "loss": "elastic-arc+"} == card["training"]


def test_pairs_are_in_ten_folds_of_different_people(made: tuple[Path, QuickstartResult]) -> None:
    lines = (made[0] / "unseen-people" / "pairs.txt").read_text().splitlines()
    assert lines[0] == "10\t4"
    rows = [line.split("\t") for line in lines[1:]]
    people = [{name.split("/")[0] for row in rows[i : i + 8] for name in row[:2]} for i in range(0, 80, 8)]
    assert sum(map(len, people)) == len(set().union(*people)) == 20
    assert [row[2] for row in rows] == ["1", "1", "1", "1", "0", "0", "0", "0"] * 10


@pytest.mark.parametrize("size", [FULL, SMALL])
def test_both_sizes_can_be_had_with_folds_of_different_people(size: Size) -> None:
    assert size.pairs % (2 * FOLDS) == 0
    numbers = np.arange(size.unseen_people * size.unseen_photos).reshape(size.unseen_people, size.unseen_photos)
    assert draw_pairs(list(numbers), size.pairs // (2 * FOLDS), FOLDS, 0).disjoint_folds


def test_the_last_lines_say_the_figures_the_page_and_the_way_on(made: tuple[Path, QuickstartResult]) -> None:
    out, outcome = made
    text = "\n".join(outcome.lines())
    known = replace(outcome, results=[replace(one, intervals={"accuracy": (0.5, 0.75)}) for one in outcome.results])
    for result in figures(out):
        assert result["intervals"] == {}  # of twenty people, two a fold, a draw may lack impostor pairs
        for lines, interval in ((outcome.lines(), ""), (known.lines(), "   95% interval 50.00% to 75.00%")):
            row = next(line for line in lines if result["model"] in line)
            assert row.endswith(f"{result['accuracy']:.2%} right{interval}")
    assert (out / "report.html").as_uri() in text
    commands = re.findall(r"^  elasticface (\w+) ", text, re.MULTILINE)
    assert commands == ["align", "split", "train", "evaluate"]
    assert "--small" not in text
    assert any("--small" in line for line in replace(outcome, size=SMALL).lines())


def test_the_commands_of_the_way_on_are_ones_that_there_are() -> None:
    for _, command in quickstart._steps():
        arguments = command.split()[1:]
        assert main._parser(arguments).parse_args(arguments).command == arguments[0]


def test_the_page_shows_training_faces_slices_and_next_steps(made: tuple[Path, QuickstartResult]) -> None:
    out, _ = made
    page = (out / "report.html").read_text()
    for section in ("about", "figures", "next", "benchmark-1", "training", "method"):
        assert f'<section id="{section}"' in page
    assert "elasticface align photos/ faces/" in page
    factors = {piece["factor"] for result in figures(out) for piece in result["slices"]}
    assert {"pose", "heterogeneity"} <= factors
    assert "Accuracy by what is in the photos" in page

    source = re.search(r'<img class="sheet" src="data:image/jpeg;base64,([^"]*)"', page)
    assert source
    sheet = decoding.decode(base64.b64decode(source[1]), "sheet")
    assert sheet.shape == (5 * 112, 8 * 112, 3)
    faces = open_dataset(out / "training-people")
    for row, column in ((0, 0), (2, 3), (4, 7)):
        face, label = faces[9 * row + column]
        assert label == row
        shown = sheet[row * 112 : (row + 1) * 112, column * 112 : (column + 1) * 112]
        assert np.abs(shown.astype(int) - face).mean() < 12  # JPEG once more


def test_the_folder_is_a_benchmark_like_any_other(
    made: tuple[Path, QuickstartResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main.main(["evaluate", str(made[0] / "run"), str(made[0] / "unseen-people"), "--out", "results"])
    assert ended.value.code == 0, err.getvalue()
    (result,), (expected, _) = figures(tmp_path / "results"), figures(made[0])
    assert result | {"model": ""} == expected | {"model": ""}
    assert result["slices"]


# ---------------------------------------------------------------------------------------------- going on


def test_once_more_measures_again_and_changes_nothing_else(
    made: tuple[Path, QuickstartResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, outcome = made
    before = content(out)
    monkeypatch.setattr(quickstart, "train", lambda *_, **__: pytest.fail("trained again"))
    again = run(out)
    assert again.lines() == outcome.lines()
    assert content(out) == before


def test_stopped_while_rendering_it_goes_on_to_the_same_end(
    made: tuple[Path, QuickstartResult], tmp_path: Path
) -> None:
    out, calls = tmp_path / "out", 0

    def interrupted(self: Studio, *number: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (10, 70):  # among the first people's photos, and among the others'
            raise KeyboardInterrupt
        return remembered(self, *number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Studio, "image", interrupted)
        # The model that training would come to: this is about what is before it.
        patch.setattr(quickstart, "train", lambda *_, **__: shutil.copytree(made[0] / "run", out / "run"))
        for _ in range(2):
            with pytest.raises(Stopped, match=rf"elasticface quickstart --out={out} --workers=1$") as stopped:
                run(out)
            assert stopped.value.exit_code == 1
        run(out)
    assert calls == 54 + 60 + 2
    assert lasting(out) == lasting(made[0])
    assert figures(out) == figures(made[0])


def test_stopped_while_training_it_goes_on_to_the_same_end(made: tuple[Path, QuickstartResult], tmp_path: Path) -> None:
    out, forward, calls = tmp_path / "out", heads.MarginHead.forward, 0
    shutil.copytree(made[0], out, ignore=shutil.ignore_patterns("run", "results.json", "report.html"))

    def interrupting(self: heads.MarginHead, *inputs: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, *inputs, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads.MarginHead, "forward", interrupting)
        with pytest.raises(Stopped, match=rf"step-\S+; resume with: elasticface quickstart --out={out} --workers=1$"):
            run(out)
    assert not (out / "run" / "model").exists()
    run(out)
    assert lasting(out) == lasting(made[0])
    assert figures(out) == figures(made[0])


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ((Path("quickstart"), FULL, 0, 2), "elasticface quickstart"),
        ((Path("quickstart"), SMALL, 0, 2), "elasticface quickstart --small"),
        ((Path("my faces"), FULL, 3, 1), "elasticface quickstart '--out=my faces' --seed=3 --workers=1"),
    ],
)
def test_the_way_on_is_the_command_that_was_given(arguments: Any, command: str) -> None:
    assert quickstart._resume_command(*arguments) == command


def test_the_way_on_names_the_program_as_it_can_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart.sys, "argv", [".venv/bin/elasticface", "quickstart"])
    monkeypatch.setattr(quickstart.shutil, "which", lambda _: None)
    assert quickstart._resume_command(Path("quickstart"), FULL, 0, 2) == ".venv/bin/elasticface quickstart"
    monkeypatch.setattr(quickstart.shutil, "which", lambda _: "/usr/bin/elasticface")
    assert quickstart._resume_command(Path("quickstart"), FULL, 0, 2) == "elasticface quickstart"


# ---------------------------------------------------------------------------------------------- refused


def test_other_arguments_for_a_folder_are_refused_in_one_line(made: tuple[Path, QuickstartResult]) -> None:
    out, _ = made
    before = content(out)
    refusal = rf"out: was made with other arguments: people 6 -> {SMALL.people}, .*; give the same, or"
    with pytest.raises(InputError, match=refusal):
        run(out, SMALL)
    with pytest.raises(InputError, match=r"other arguments: seed 0 -> 1; give the same, or another folder with --out$"):
        run(out, seed=1)
    assert content(out) == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.txt", "mine", "out: holds something already; give another folder with --out"),
        ("quickstart.json", "no JSON", r"quickstart\.json: not valid JSON.*; give another folder with --out"),
        ("quickstart.json", "3", r"quickstart\.json is 3: expected object.*; give another folder with --out"),
        ("quickstart.json", '{"seed": "0"}', r"quickstart\.json: .*expected int.*; give another folder with --out"),
    ],
)
def test_a_folder_of_something_else_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out")
    assert content(tmp_path) == {f"out/{name}": text.encode()}


def test_settings_out_of_range_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed must be at least 0, got -1"):
        run(tmp_path / "out", seed=-1)
    for workers in (0, 257):
        with pytest.raises(InputError, match=f"workers must be 1 to 256, got {workers}"):
            quickstart.quickstart(tmp_path / "out", TINY, workers=workers)
    with pytest.raises(InputError, match="seed must be 0 to"):
        run(tmp_path / "out", seed=2**63)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------- how it is called


@pytest.mark.parametrize(("option", "size"), [([], FULL), (["--small"], SMALL)])
def test_the_command_line_passes_its_options_on(
    option: list[str], size: Size, made: tuple[Path, QuickstartResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr(quickstart, "quickstart", lambda *a, **k: given.append((a, k)) or made[1])
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main.main(["quickstart", *option])
    assert ended.value.code == 0
    assert given == [((Path("quickstart"), size), {"seed": 0, "workers": 2})]
    assert out.getvalue().splitlines() == made[1].lines()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_quickstart_installs_and_runs_it() -> None:
    root = Path(__file__).parent.parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for arguments in ([], ["ARGS=--small"]):
        command = ["make", "-n", "quickstart", *arguments]
        ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
        options = "--small" if arguments else ""
        assert ended.stdout.splitlines()[-1].strip() == f".venv/bin/elasticface quickstart {options}".strip()
