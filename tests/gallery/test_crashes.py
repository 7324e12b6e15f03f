"""A few kills of writers, server and both amid enrolments and removals; crashes.py takes as many as are wanted."""

from pathlib import Path

import crashes


def test_every_acknowledged_change_is_there_after_a_kill(place: Path) -> None:
    met = crashes.crash(place / "crashes", kills=5, seed=0, longest=0.05)
    assert [kill["killed"] for kill in met] == ["writers", "server", "both", "writers", "server"]
    assert sum(kill["acknowledged"] for kill in met) >= 5
