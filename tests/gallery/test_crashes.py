"""A few kills of writer, server and both amid enrolments and removals; crashes.py takes as many as are wanted."""

from pathlib import Path

import crashes


def test_every_acknowledged_change_is_there_after_a_kill(place: Path) -> None:
    counted = crashes.crash(place / "crashes", kills=5, seed=0, longest=0.05)
    assert (counted["writer"], counted["server"], counted["both"]) == (2, 2, 1)
    assert counted["acknowledged"] >= 5
