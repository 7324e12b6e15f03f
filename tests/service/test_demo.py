"""tools/demo.py: a service with rendered people enrolled, small enough for a test."""

import importlib.util
import re
import socket
from pathlib import Path

import pytest
from gallery_requests import search
from starlette.testclient import TestClient

from elasticface.base.errors import InputError
from elasticface.service import listen

TOOL = Path(__file__).parents[2] / "tools" / "demo.py"


@pytest.fixture
def demo(monkeypatch):
    """With two people of two photos, and one stranger."""
    spec = importlib.util.spec_from_file_location("demo", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in {"PEOPLE": module.PEOPLE[:2], "PHOTOS": 2, "STRANGERS": 1}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_people_are_rendered_enrolled_and_found_and_nothing_is_made_twice(
    demo, database, encoder, place, monkeypatch, capsys
):
    served, out = [], place / "demo"
    monkeypatch.setattr(demo, "serve_app", lambda *arguments: served.append(arguments))
    out.mkdir()
    (out / "database").symlink_to(database.server.folder)
    to_try = out / "photos-to-try"
    for _ in range(2):
        demo.render(out / "people", to_try)
        written = {path: path.stat().st_mtime_ns for path in out.glob("p*/**/*.jpg")}
        demo.enrol(out / "database", out / "people", encoder)
    assert sorted(path.stem for path in to_try.iterdir()) == sorted([*demo.PEOPLE, "stranger 1"])
    assert written == {path: path.stat().st_mtime_ns for path in written}
    with listen("127.0.0.1", 0) as listening:
        demo.serve(out, encoder, listening)
    key = re.search("/#key=(.+)", capsys.readouterr().out)[1]
    ((app, *_),) = served
    with TestClient(app, headers={"X-API-Key": key}) as client:
        (collection,) = client.get("/v1/collections").json()["collections"]
        assert (collection["name"], collection["people"], collection["faces"]) == ("demo", 2, 2)
        enrolled = out / "people" / demo.PEOPLE[1] / "1.jpg"
        answer = search(client, enrolled.read_bytes(), where="/v1/collections/demo", crops="yes").json()
    best = answer["candidates"][0]
    assert (best["person"], best["crop"]) == (demo.PEOPLE[1], answer["face"]["crop"])  # the page shows both


def test_a_port_that_is_taken_is_said_before_anything_is_made(demo, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="cannot listen there"):
        demo.demo(tmp_path / "demo", taken.getsockname()[1])
    assert not any(tmp_path.iterdir())
