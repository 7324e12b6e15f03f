"""`elasticface synthesize`: rendered sets and previews."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL, content, done, refused, words

from elasticface.data.synthetic.scene import Variation

SET = ["--identities", "2", "--images-per-identity", "4", "--seed", "1", "--workers", "1"]


@pytest.fixture
def previews(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Previews are noted, not drawn."""
    noted: list[Any] = []

    def write_preview(path: Path, seed: int, variation: Variation, first: int) -> list[Path]:
        noted.append((path, seed, variation, first))
        return [path, path.with_suffix(".txt")]

    module = types.ModuleType("preview")
    module.write_preview = write_preview  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "elasticface.data.synthetic.preview", module)
    return noted


def test_synthesize_writes_a_set_to_train_on_and_leaves_a_whole_one_alone() -> None:
    out = done("synthesize", "faces", *SET)
    assert "2 people, 8 images" in out
    assert out.endswith("faces\nfaces/metadata.csv\nfaces/synthetic.json\n")
    assert all(Path(line).exists() for line in out.splitlines()[-3:])
    before = content(Path("faces"))
    assert "nothing was changed" in done("synthesize", "faces", *SET)
    assert content(Path("faces")) == before
    assert "identities 2 -> 3" in refused("synthesize", "faces", *SET, "--identities", "3")
    done("train", "faces", "--out", "run", *SMALL, "--max-steps", "1")


def test_a_preview_comes_alone_or_after_the_set(previews: list[Any]) -> None:
    options = ["--heterogeneity", "1", "--first", "7", "--appearance", "frozen", "--seed", "3"]
    assert done("synthesize", "--preview", "sheet.png", *options) == "sheet.png\nsheet.txt\n"
    assert previews == [(Path("sheet.png"), 3, Variation(1.0, "frozen"), 7)]
    assert not list(Path.cwd().iterdir())
    out = done("synthesize", "faces", *SET, "--preview", "faces.png")
    assert out.endswith("faces/synthetic.json\nfaces.png\nfaces.txt\n")
    assert previews[1:] == [(Path("faces.png"), 1, Variation(), 0)]


def test_a_refused_set_has_no_preview(previews: list[Any], people: Path) -> None:
    refused("synthesize", people, *SET, "--preview", "faces.png")
    refused("synthesize", "out", *SET[2:], "--preview", "faces.png")
    assert previews == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("synthesize", "needs OUT, a folder for the faces, or --preview FILE.png, or both"),
        ("synthesize out", "synthesize OUT needs --identities and --images-per-identity"),
        ("synthesize out --identities 3", "synthesize OUT needs --identities and --images-per-identity"),
        (
            "synthesize out --identities many --images-per-identity 4",
            "--identities must be a whole number, got 'many'",
        ),
        ("synthesize out --identities -3 --images-per-identity 4", "identities must be 1 to 1,000,000, got -3"),
        ("synthesize out --identities 3 --images-per-identity 0", "images of each identity must be 1 to 10,000, got 0"),
        ("synthesize out --identities 3 --images-per-identity 99999999999999999999", "must be 1 to 10,000, got 999999"),
        ("synthesize out --identities 3 --images-per-identity 4 --seed -1", "seed must be 0 to"),
        ("synthesize out --identities 3 --images-per-identity 4 --first 999999", "first and identities together must"),
        ("synthesize out --identities 3 --images-per-identity 4 --heterogeneity 3", "heterogeneity must be 0 to 2"),
        (
            "synthesize out --identities 3 --images-per-identity 4 --heterogeneity nan",
            "--heterogeneity must be a number, got 'nan'",
        ),
        (
            "synthesize out --identities 3 --images-per-identity 4 --appearance odd",
            "--appearance must be one of varying, ",
        ),
        ("synthesize out --identities 3 --images-per-identity 4 --workers 0", "workers must be 1 to 256, got 0"),
        (
            "synthesize out --identities 3 --images-per-identity 4 --preview sheet.gif",
            "sheet.gif: not the name of a pic",
        ),
        (
            "synthesize FACES --identities 3 --images-per-identity 4",
            "holds something that is no set of synthetic faces",
        ),
        ("synthesize --preview FACES", "not the name of a picture; give a file that ends in .png or .jpg"),
        ("synthesize --preview sheet.png --first -1", "first must be 0 to 999,999, got -1"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))
