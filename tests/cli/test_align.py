"""`elasticface align`: photos and landmarks in, aligned faces out."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import done, refused, words, write_landmarks
from conftest import write_people

from elasticface.data.images import decoding
from elasticface.faces import aligned


def test_align_then_split_then_evaluate(model: Path) -> None:
    photos = write_people(Path("photos"), 8, 4)
    names = [path.relative_to(photos).as_posix() for path in photos.rglob("*.png")]
    write_landmarks(Path("five.csv"), names)
    out = done("align", photos, "aligned", "--landmarks", "five.csv", "--format", "png", "--workers", "1")
    assert "112x112 png" in out
    assert len(list(Path("aligned").rglob("*.png"))) == 32
    assert np.array_equal(
        decoding.decode(Path("aligned", names[0]).read_bytes(), names[0]),
        decoding.decode(Path("photos", names[0]).read_bytes(), names[0]),
    )
    out = done("split", "aligned", "parts", "--people", "4", "--pairs", "40")
    assert "4 people, 16 images" in out
    for part in (Path("parts/train"), Path("parts/heldout")):
        assert aligned.read(part) == aligned.Summary(
            size=112, format="png", detector=aligned.read(Path("aligned")).detector
        )
    done("evaluate", model, "parts/heldout")
    assert json.loads(Path("results/results.json").read_text())["results"][0]["counts"]["pairs"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("align", "photos"),
        ("align FACES", "out"),
        ("align absent out --landmarks five.csv", "absent: cannot be read"),
        ("align FACES out --sheet sheet.jpg", "--sheet sheet.jpg: a PNG is written; give a name that ends in .png"),
        ("align FACES out --sheet out/a/sheet.png", "sheet.png: lies among the aligned faces; give a name elsewhere"),
        ("align FACES out --landmarks absent.csv", "absent.csv: cannot be read"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))
