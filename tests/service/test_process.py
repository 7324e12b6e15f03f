"""`elasticface serve` as a process: it listens, answers, and ends when it is told, with what it has begun done."""

import contextlib
import signal
import socket
import stat
import threading
import time

import httpx
import pytest
from command_line import done, refused, run
from gallery_requests import create, enrol, outcomes, search
from served import started
from service_problems import problem

from elasticface.cli import serve


@pytest.fixture(scope="module")
def service(tmp_path_factory, calibrated):
    folder = tmp_path_factory.mktemp("process")
    calibrated.save(folder / "model")
    options = ("--model", folder / "model", "--upload-seconds", "5", "--no-gallery")
    with started(folder, *options) as (process, address, key):
        yield process, address, key, folder


def raw(address, data, wait=True):
    """What comes back where bytes are sent."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(data)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while wait and (more := connection.recv(65536)):
                found += more
    return found


def test_what_is_no_http_is_answered_with_a_problem(service):
    _, address, _, _ = service
    for data in (b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n"):
        answer = raw(address, data)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"\r\ncontent-type: application/problem+json\r\n" in answer
        assert b"urn:elasticface:problem:no-http" in answer
        assert b"server:" not in answer.lower()
    raw(address, b"POST /v1/detect HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", wait=False)


def test_a_large_request_is_refused_before_it_is_read(service):
    _, address, key, _ = service
    answer = httpx.post(f"{address}/v1/detect", content=bytes(40 << 20), headers={"X-API-Key": key})
    problem(answer, 413, "request-too-large")
    assert "server" not in answer.headers


def test_without_a_gallery_there_are_no_collections(service):
    _, address, key, _ = service
    problem(httpx.get(f"{address}/v1/collections", headers={"X-API-Key": key}), 404, "no-gallery")


def test_a_pair_is_verified_and_sigterm_ends_with_what_was_begun_answered(service, photos):
    process, address, key, folder = service
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    files = {"first": photos["a"], "second": photos["b"]}
    with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=60) as client:
        assert client.get("/v1/service").json()["model"] == "small"  # --model
        assert client.post("/v1/verify", files=files).json()["same"] in (True, False)
        begun, found = threading.Event(), []

        def slow():
            yield b"--b\r\nContent-Disposition: form-data; name=photo; filename=a\r\n\r\n"
            begun.set()
            time.sleep(0.5)
            yield photos["two"] + b"\r\n--b--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        late = threading.Thread(target=lambda: found.append(client.post("/v1/detect", content=slow(), headers=headers)))
        late.start()
        assert begun.wait(20)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        late.join()
    assert len(found[0].json()["faces"]) == 2
    assert process.wait(30) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/healthz")
    log = (folder / "log").read_text()
    assert "Traceback" not in log
    assert key not in log
    assert "route=/v1/verify status=200" in log


def test_people_are_enrolled_in_the_database_that_is_named(tmp_path, photos, place, opened):
    with started(tmp_path, "--database", str(place / "served")) as (process, address, key):
        with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=120) as client:
            assert create(client, "friends").status_code == 201
            assert outcomes(enrol(client, "Ann Secret", photos["a"])) == ["enrolled"]
            answer = search(client, photos["a"]).json()
            assert [one["person"] for one in answer["candidates"]] == ["Ann Secret"]
            ready = client.get("/readyz")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert ready.status_code == 200
    assert not (place / "served/data/postmaster.pid").exists()
    assert "Ann Secret" in done("gallery", "people", "--database", place / "served", "--collection", "friends")
    assert "Secret" not in (tmp_path / "log").read_text()


def test_sigterm_ends_a_service_that_still_loads_its_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(serve, "load_model", lambda options: signal.raise_signal(signal.SIGTERM))
    assert run("serve", "--port", "0", "--key-folder", "keys") == (0, "", "")
    assert signal.getsignal(signal.SIGTERM) == before
    assert not any(tmp_path.iterdir())


def test_a_new_key_is_printed_and_kept_as_its_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("serve", "--new-key", "--key-folder", "keys")
    assert (code, err) == (0, "")
    assert len(out.strip()) == 43
    assert all(out.strip() not in path.read_text() for path in (tmp_path / "keys").iterdir())


def test_wrong_options_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option, value, told in (
        ("--queue", "0", "must be above 0, not 0"),
        ("--most-faces", "-1", "must be above 0, not -1"),
        ("--batch-ms", "-1", "must be above 0, not -1"),
        ("--batch", "10000000000000", "must be at most 4,096, not 10,000,000,000,000"),
        ("--pixels", "9" * 20, "must be at most 1,099,511,627,776, not "),
        ("--database-seconds", "3e6", "must be at most 2,147,483, not 3,000,000.0"),
    ):
        assert f"elasticface: {option} {told}" in refused("serve", f"{option}={value}")
    assert "cannot listen there" in refused("serve", "--host", "256.0.0.1", "--key-folder", "keys")
    for port in (-1, 1 << 16, 70_000, 1 << 40):
        assert f"--port {port}: there is none" in refused("serve", f"--port={port}", "--key-folder", "keys")
    assert "--key-folder must be text, got ''" in refused("serve", "--key-folder", "")
    assert "nowhere: no such model" in refused("serve", "--port", "0", "--model", "nowhere", "--key-folder", "keys")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "cannot listen there: Address already in use" in refused("serve", "--port", port, "--key-folder", "keys")
    assert not any(tmp_path.iterdir())  # no key is made
