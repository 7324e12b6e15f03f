"""How the service is run in a container, as the Dockerfile and its page have it; there is no Docker where tests run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_container_is_healthy_while_it_is_busy(client):
    (check,) = re.findall("^HEALTHCHECK .*", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert "--timeout=" in check
    path = re.search(r"http://127\.0\.0\.1:8000(/\w+)", check)[1]
    work = client.app.state.work
    work._at_work += work.limits.queue
    try:
        assert client.get("/readyz").status_code == 503
        assert client.get(path, headers={"X-API-Key": ""}).status_code == 200
    finally:
        work._at_work -= work.limits.queue


def test_a_container_that_may_not_write_has_a_place_for_temporary_files():
    runs = re.findall("^docker run .*--read-only.*", (ROOT / "docs/service.md").read_text(), re.MULTILINE)
    assert runs
    assert all("--tmpfs /tmp" in run for run in runs)


def test_a_container_can_serve_an_exported_model():
    extras = re.search(r"/src\[(.*?)\]", (ROOT / "Dockerfile").read_text())[1].split(",")
    assert {"service", "gallery", "export"} <= {*extras}  # export: .onnx files as models
    (run,) = re.findall("^docker run .*--model.*", (ROOT / "docs/service.md").read_text(), re.MULTILINE)
    folder, model = re.search(r':(/\S+):ro"', run)[1], re.search(r"--model (\S+)", run)[1]
    assert model.startswith(f"{folder}/")
