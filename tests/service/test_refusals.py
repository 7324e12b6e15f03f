"""What is wrong with a request is answered with one clear problem, and costs as little as it can."""

import asyncio
import re
import struct
import threading
import zlib

import httpx
import numpy as np
import pytest
from service_problems import problem

from elasticface.data.images.decoding import decode
from elasticface.service.app import create_app
from elasticface.service.keys import new_key
from elasticface.service.limits import Limits

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
KEYED = ("/v1/detect", "/v1/verify", "/v1/embed", "/metrics", "/nothing", "/page", "/v1/detect/", "/docs/%2e%2e")


def part(name, content, filename="x", more=""):
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{more}\r\n'.encode() + content + b"\r\n"


def png(width, height, rows=b""):
    """A PNG that claims a size, and holds what it is given."""
    chunks = ((b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("path", KEYED)
def test_all_but_the_open_paths_need_the_key(client, path):
    with httpx.Client(transport=client._transport, base_url="http://testserver") as without:
        problem(without.post(path), 401, "no-key")
        for key in ("", "wrong", "ü".encode()):
            answer = without.post(path, headers={"X-API-Key": key})
            problem(answer, 401, "wrong-key")
            assert answer.headers["www-authenticate"].startswith("ApiKey")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/", "/page/page.css"])
def test_open_paths_need_none(client, path):
    with httpx.Client(transport=client._transport, base_url="http://testserver") as without:
        assert without.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/page/%2e%2e/v1/detect", "/page//v1/detect", "/page/"])
def test_what_begins_like_the_page_leads_nowhere_else(client, path):
    with httpx.Client(transport=client._transport, base_url="http://testserver") as without:
        problem(without.post(path), 404, "no-such-page")


def test_no_such_page(client):
    problem(client.get("/nothing"), 404, "no-such-page")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/detect", "POST"),
        ("/v1/collections", "GET, HEAD, POST"),
        ("/v1/collections/x", "DELETE, GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
def test_another_method_is_answered_with_those_of_the_path(client, path, allowed):
    for method in ("PUT", "OPTIONS", "HEAD", "ADA"):
        if method not in allowed:
            answer = client.request(method, path)
            assert answer.status_code == 405
            assert answer.headers["allow"] == allowed
    problem(client.put(path), 405, "method-not-allowed")


@pytest.mark.parametrize(
    ("method", "path", "kind", "words"),
    [
        ("POST", "/v1/verify?fmr=1e-6", "unknown-field", "fmr: no such field after the ?; fields are sent as a form"),
        ("POST", "/v1/collections?aggregation=mean", "unknown-field", "aggregation: "),
        ("GET", "/v1/service?a%00=", "unknown-field", r"a\x00: "),
        (
            "GET",
            f"/v1/collections/x/people?{'é' * 500}=1",
            "unknown-field",
            "é: no such field after the ?; there are after, most",
        ),
        ("GET", "/v1/collections/x/people?most=1&most=2", "repeated-field", "most: "),
        ("DELETE", "/v1/collections/x?dry=yes", "unknown-field", "dry: "),
    ],
)
def test_what_the_query_may_not_have_is_refused_and_not_passed_over(client, method, path, kind, words):
    assert words in problem(client.request(method, path), 422, kind)


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 415, "no-form"),
        ({"Content-Type": "image/jpeg"}, 415, "no-form"),
        ({"Content-Type": "application/json"}, 415, "no-form"),
        ({"Content-Type": "multipart/form-data"}, 400, "broken-form"),
        ({"Content-Type": f"multipart/form-data; boundary={'b' * 300}"}, 400, "broken-form"),
        ({**FORM, "Content-Encoding": "gzip"}, 415, "encoded-body"),
        (FORM, 400, "broken-form"),
    ],
)
def test_what_is_no_form_is_refused(client, headers, status, kind):
    problem(client.post("/v1/detect", content=b"x" * 100, headers=headers), status, kind)


def test_who_sends_no_form_is_told_of_photos_where_there_are_some(client, friends):
    for answer, told in (
        (client.post("/v1/embed", data={"faces": "all"}), True),
        (friends.post("/v1/collections", json={"name": "x"}), False),
    ):
        assert ("with the photos" in problem(answer, 415, "no-form")) is told


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"--b--\r\n", "no-photo", "photo: missing"),
        (part("photo", b""), "empty-photo", "photo: the file is empty"),
        (part("photo", b"https://example.org/a.jpg", None), "no-upload", "paths and addresses are not taken"),
        (part("photo", b"/etc/passwd"), "no-photo", "not a JPEG, PNG, WebP or HEIC file"),
        (part("photo", b"GIF89a" + bytes(50)), "no-photo", "not a JPEG"),
        (part("photo", b"<svg/>", more="Content-Type: image/png\r\n"), "no-photo", "not a JPEG"),
        (part("url", b"https://example.org", None), "unknown-field", "url: no such field; there are photo"),
        (part("a\x00\n" * 9, b"", None), "unknown-field", r"a\x00\na\x00"),
        (part("é" * 500, b"", None), "unknown-field", "…"),
        (part("photo", png(5, 5)) * 2, "too-many-photos", "more than 1"),
        (part("photo", png(60_000, 60_000)), "too-many-pixels", "60000x60000 pixels, more than 33,554,432"),
        (part("photo", png(50, 50, zlib.compress(bytes(10)))), "damaged-photo", ""),
        (part("photo", b"\xff\xd8\xff" + bytes(100)), "damaged-photo", "does not say its size"),
        (b"--b\r\n\r\nx\r\n", "broken-form", ""),
        (b"--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n", "broken-form", ""),
        (b"--b\r\nContent-Disposition: form-data; " + b"a" * 9000 + b"\r\n\r\nx\r\n", "broken-form", ""),
        (b"--b\r\n" + b"A: b\r\n" * 50 + b"\r\nx\r\n", "broken-form", ""),
    ],
    ids=range(17),
)
def test_wrong_parts_are_refused_by_name(client, body, kind, words):
    status = 400 if kind == "broken-form" else 422
    answer = client.post("/v1/detect", content=body + b"--b--\r\n", headers=FORM)
    assert words in problem(answer, status, kind)
    assert len(answer.text) < 1000


def test_a_form_that_ends_early_is_refused(client, photos):
    whole = part("photo", photos["a"]) + b"--b--\r\n"
    for end in (0, 3, 40, 500, len(whole) - 8):
        problem(client.post("/v1/detect", content=whole[:end], headers=FORM), 400, "broken-form")


def test_fields_are_short_and_come_once(client):
    for parts, kind in (
        (part("fmr", b"1" * 2000, None), "wrong-value"),
        (part("fmr", b"1", "file"), "wrong-value"),
        (part("fmr", b"1", None) * 2, "repeated-field"),
    ):
        problem(client.post("/v1/verify", content=parts + b"--b--\r\n", headers=FORM), 422, kind)


def test_bytes_photos_and_faces_have_bounds(serving, photos):
    size = len(photos["two"])
    service = serving(photo_bytes=size - 1)
    problem(service.post("/v1/detect", files={"photo": photos["two"]}), 413, "photo-too-large")
    service = serving(request_bytes=size, photos=2, most_faces=1)
    answer = service.post("/v1/detect", files={"photo": photos["two"]})
    assert "more than" in problem(answer, 413, "request-too-large")
    # Without a Content-Length it is counted as it comes.
    body = [part("photo", photos["two"]), b"--b--\r\n"]
    problem(service.post("/v1/detect", content=iter(body), headers=FORM), 413, "request-too-large")
    many = [("photos", bytes(10))] * 3
    problem(service.post("/v1/embed", files=many), 422, "too-many-photos")
    service = serving(most_faces=1)
    found = problem(service.post("/v1/detect", files={"photo": photos["two"]}), 422, "too-many-faces")
    assert found == "photo: the photo holds more than 1 faces; cut out a part of it"
    assert service.post("/v1/detect", files={"photo": photos["a"]}).status_code == 200


def test_a_photo_without_a_face_cannot_be_compared(client, photos):
    answer = client.post("/v1/verify", files={"first": photos["a"], "second": photos["nobody"]})
    assert problem(answer, 422, "no-face").startswith("second: no face was found in 240x200 pixels")


def talk(app, *requests):
    """Answers to what several clients send at one time."""

    async def run():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://s") as client,
        ):
            return await asyncio.gather(*(request(client) for request in requests))

    return asyncio.run(run())


def test_beyond_the_queue_clients_are_told_to_come_again(encoder, tmp_path, photos):
    key, text = new_key(tmp_path / "keys")
    app = create_app(encoder, key, limits=Limits(queue=2, upload_seconds=5))
    headers, sent = {"X-API-Key": text}, asyncio.Event()

    async def slow():
        yield part("photo", photos["a"])
        await sent.wait()
        yield b"--b--\r\n"

    async def upload(client):
        return await client.post("/v1/detect", content=slow(), headers=headers | FORM)

    async def refused(client):
        await asyncio.sleep(0.1)
        found = [await client.post("/v1/detect", headers=headers | FORM), await client.get("/readyz")]
        alive = await client.get("/healthz")
        sent.set()
        return found, alive

    first, second, (full, alive) = talk(app, upload, upload, refused)
    assert first.status_code == second.status_code == alive.status_code == 200
    for answer, kind in zip(full, ("queue-full", "not-ready"), strict=True):
        problem(answer, 503, kind)
        assert answer.headers["retry-after"] == "1"
    assert app.state.work.ready or app.state.work._at_work == 0


def test_a_slow_upload_is_not_waited_for(encoder, tmp_path):
    key, text = new_key(tmp_path / "keys")
    app = create_app(encoder, key, limits=Limits(upload_seconds=0.1))

    async def slow():
        yield b"--b\r\n"
        await asyncio.sleep(5)

    async def upload(client):
        return await client.post("/v1/detect", content=slow(), headers={"X-API-Key": text} | FORM)

    (answer,) = talk(app, upload)
    problem(answer, 408, "slow-upload")
    assert answer.headers["connection"] == "close"
    assert app.state.work._at_work == 0


def test_a_client_that_leaves_is_logged_and_leaves_its_place(encoder, tmp_path, caplog):
    key, text = new_key(tmp_path / "keys")
    app = create_app(encoder, key)
    headers = [(b"x-api-key", text.encode()), (b"content-type", FORM["Content-Type"].encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/detect", "raw_path": b"/v1/detect", "query_string": b""}
    scope |= {"headers": headers, "root_path": "", "scheme": "http", "server": ("s", 80), "http_version": "1.1"}
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    with caplog.at_level("INFO", "elasticface.service"):
        asyncio.run(app(scope, receive, send))
    assert sent == []
    assert " route=/v1/detect status=499 " in caplog.messages[-1]
    assert app.state.work._at_work == 0


async def leaving(app, key, path, body, leaves):
    """A client that sends a form, and goes once ``leaves`` returns."""
    headers = [(b"x-api-key", key.encode()), (b"content-type", FORM["Content-Type"].encode())]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "root_path": "", "scheme": "http", "server": ("s", 80), "http_version": "1.1"}
    messages = [{"type": "http.request", "body": body + b"--b--\r\n", "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await leaves()
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError(message)

    await app(scope, receive, send)


def test_what_a_client_left_behind_is_not_looked_at(encoder, tmp_path, photos):
    key, text = new_key(tmp_path / "keys")
    app = create_app(encoder, key, limits=Limits(threads=1))
    work, looked, go = app.state.work, [], threading.Event()

    def find(pixels):
        looked.append(pixels)
        assert go.wait(10)
        return []

    work.finder.find = find

    async def run():
        body = part("photo", photos["a"])
        await asyncio.gather(*(leaving(app, text, "/v1/detect", body, lambda: asyncio.sleep(0.1)) for _ in range(5)))
        assert work._at_work == 0
        go.set()

    asyncio.run(run())
    work.close()
    assert len(looked) == 1


def test_a_request_has_one_photos_faces_wait_and_leaves_none_behind(encoder, tmp_path, photos):
    key, text = new_key(tmp_path / "keys")
    app = create_app(encoder, key)
    work, looked, sizes = app.state.work, [], []
    begun, go = threading.Event(), threading.Event()
    found = work.finder.find(decode(photos["two"], "two"))

    def find(pixels):
        looked.append(pixels)
        return found

    class Busy:
        def embed(self, faces, batch_size):
            sizes.append(len(faces))
            begun.set()
            assert go.wait(10)
            return encoder.embed(faces)

    work.finder.find, work._batches._encoder = find, Busy()
    body = b"".join(part("photos", photos["two"]) for _ in range(8)) + part("faces", b"all", None)

    async def waits():
        while not work._batches._queue.qsize():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)

    async def run():
        others = work._batches.embed([np.zeros((112, 112, 3), np.uint8)])
        assert await asyncio.to_thread(begun.wait, 10)
        await leaving(app, text, "/v1/embed", body, waits)
        assert work._at_work == 0
        assert work._batches._queue.qsize() == len(looked) == 1
        go.set()
        await others

    asyncio.run(run())
    work.close()
    assert sizes == [1]


@pytest.mark.parametrize(
    ("path", "field", "told"),
    [
        ("/v1/detect", "photo", r"OverflowError at \S*test_refusals\.py:\d+"),
        ("/v1/embed", "photos", r"RuntimeError at \S*work\.py:\d+ from OverflowError at \S*test_refusals\.py:\d+"),
    ],
)
def test_a_fault_of_ours_is_a_problem_and_the_log_has_its_place_alone(
    encoder, tmp_path, caplog, monkeypatch, photos, path, field, told
):
    from starlette.testclient import TestClient

    key, text = new_key(tmp_path / "keys")
    app = create_app(encoder, key)

    def broken(*_, **__):
        raise OverflowError("secret name")

    work = app.state.work
    monkeypatch.setattr(*((work.finder, "find") if field == "photo" else (work.encoder, "embed")), broken)
    with TestClient(app, headers={"X-API-Key": text}) as service, caplog.at_level("INFO", "elasticface.service"):
        answer = service.post(path, files={field: photos["a"]})
    problem(answer, 500, "failure")
    assert "secret" not in answer.text + caplog.text
    failed, line = caplog.messages[-2:]
    assert re.fullmatch(rf"id={answer.headers['x-request-id']} failed={told}", failed)
    assert "status=500" in line
