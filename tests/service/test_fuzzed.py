"""A short run of tests/fuzz/service.py, and what it takes for wrong."""

import importlib.util
import json
from pathlib import Path

import pytest

from elasticface.data.images.decoding import decode, encode

FOLDER = Path(__file__).parents[1] / "fuzz"


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("fuzz_service", FOLDER / "service.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_short_run_finds_nothing_and_keeps_what_it_measured(fuzz, database, tmp_path):
    fuzz.main(requests=150, clients=32, soon=0.5, database=database.server.folder, out=tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["settings"] == {"requests": 150, "seed": 0, "clients": 32, "soon": 0.5}
    assert found["environment"]["versions"]
    assert sum(found["answers"].values()) == 150
    assert {"200", "400", "422"} <= found["answers"].keys()
    assert len(found["memory_mib"]) == 10


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({}, None),
        ({"ended": -9}, "the service ended with -9"),
        ({"faults": ["failed=KeyError"]}, "findings"),
        ({"answers": {"finding: 500": 1}}, "findings"),
        ({"memory_mib": [300, 400, 410, 433]}, "grew by 33 MiB, more than 32"),
    ],
)
def test_a_run_that_finds_something_says_what(fuzz, found, wrong):
    sound = {"ended": None, "faults": [], "answers": {"200": 3}, "memory_mib": [300, 400, 332]}
    told = fuzz.judged(sound | found, growth=32)
    assert told is None if wrong is None else wrong in told


def test_every_bomb_is_refused_and_takes_no_memory(fuzz, client, photos):
    bombs = fuzz.bombs(encode(decode(photos["a"], "a"), ".jpg"))
    for photo in bombs:
        (told,) = client.post("/v1/embed", files={"photos": photo}).json()["photos"]
        kind = told["problem"]["type"].rpartition(":")[2] if told["problem"] else None
        assert kind == "too-many-pixels" if photo != bombs[1] else kind in (None, "damaged-photo"), told
