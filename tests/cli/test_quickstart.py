"""`elasticface quickstart`: what it refuses; tests/test_quickstart.py runs it."""

from pathlib import Path

import pytest
from command_line import refused, words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("quickstart more", "more"),
        ("quickstart --seed -1", "seed must be at least 0, got -1"),
        ("quickstart --workers 0", "workers must be 1 to 256, got 0"),
        ("quickstart --out FACES", "holds something already; give another folder with --out"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))
