"""`elasticface split`: what it refuses; test_align.py splits for good."""

from pathlib import Path

import pytest
from command_line import refused, words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("split FACES out", "people"),
        ("split absent out --people 2", "absent"),
        ("split FACES out --people some", "--people must be a whole number, got 'some'"),
        ("split FACES out --people 5 --pairs 20", "people must be at least 2 and leave at least 2"),
        ("split FACES out --people 2 --pairs 7", "pairs must be a multiple of 20"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str, people: Path, model: Path) -> None:
    assert message in refused(*words(arguments, FACES=people, MODEL=model))
