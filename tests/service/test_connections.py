"""What the HTTP server does with clients that no program is: each is answered or given up, in one line of the log."""

import asyncio
import contextlib
import json
import re
import socket

import pytest
import uvicorn
from uvicorn.server import ServerState

from elasticface.service import serving
from elasticface.service.gate import Gate
from elasticface.service.keys import new_key
from elasticface.service.limits import Limits
from elasticface.service.metrics import Metrics
from elasticface.service.serving import _Protocol, _Server


@contextlib.asynccontextmanager
async def listening(app, take_seconds=0.3):
    """A server of the service's kind around an application: its port, and what it knows of its connections."""
    state = ServerState()
    config = uvicorn.Config(app, http=_Protocol, log_config=None, lifespan="off")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Protocol(config, state, {}, take_seconds=take_seconds), "127.0.0.1", 0, backlog=8
    )
    try:
        yield server.sockets[0].getsockname()[1], state
    finally:
        server.close()


@contextlib.asynccontextmanager
async def connection(port, bytes_received=65536):
    """A connection that reads nothing by itself, and takes few bytes unread."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, bytes_received)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        yield client


async def until(true):
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def answering(scope, receive, send):
    """8,000 bytes to everyone."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8000")]})
    await send({"type": "http.response.body", "body": bytes(8000)})


def test_a_client_that_takes_nothing_is_given_up_however_little_is_left():
    async def run():
        loop = asyncio.get_running_loop()
        async with listening(answering) as (port, state), connection(port, 4096) as client:
            await until(lambda: state.connections)
            (held,) = state.connections
            while not held.transport.get_write_buffer_size():  # until the kernel takes no more
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await asyncio.sleep(0.002)
            assert held.transport.get_write_buffer_size() < 16_000  # less than asyncio itself would pause for
            held.shutdown()  # as the end of the service does it
            await until(lambda: not state.connections)

    asyncio.run(run())


async def reading(scope, receive, send):
    """The length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        length, more = length + len(message["body"]), message["more_body"]
    told = str(length).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
    await send({"type": "http.response.body", "body": told})


@pytest.fixture
def gate(tmp_path):
    """Makes the gate of a service before an application; everybody may pass who has the key."""
    key, text = new_key(tmp_path / "keys")

    def made(app):
        return Gate(app, key, Limits(), Metrics()), f"Host: a\r\nX-API-Key: {text}\r\n".encode()

    return made


async def sent(port, *parts):
    """What comes back until the server closes, where a client sends parts of a request one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        found = await reader.read()
    writer.close()
    return found


@pytest.mark.parametrize("method", [b"HEAD", b"GET", b"POST"])
@pytest.mark.parametrize("together", [True, False])
def test_a_body_that_is_no_http_is_one_answer_and_one_line(gate, caplog, method, together):
    app, headers = gate(answering if method == b"HEAD" and not together else reading)
    request = method + b" / HTTP/1.1\r\n" + headers + b"Transfer-Encoding: chunked\r\n\r\n"
    request, *rest = [request + b"ZZ\r\n"] if together else [request, b"1\r\na\r\nZZ\r\n", b"ZZ\r\n"]

    async def run():
        async with listening(app) as (port, _):
            return await sent(port, request, *rest)

    with caplog.at_level("INFO"):
        head, _, body = asyncio.run(run()).partition(b"\r\n\r\n")
    lines = [record.getMessage() for record in caplog.records if record.name in ("elasticface.service", "asyncio")]
    assert len(lines) == 1
    if method == b"HEAD":  # has no body
        assert body == b""
    if method != b"HEAD" or together:
        assert head.startswith(b"HTTP/1.1 400 ")
        assert re.search(r" status=400 .* out=\d+$", lines[0])
        request_id = re.search(rb"x-request-id: (\w+)", head)[1].decode()
        assert lines[0].startswith(f"id={request_id} ")
        assert not body or json.loads(body)["request_id"] == request_id
    total = app.metrics.requests.collect()[0].samples[0]
    assert (total.labels["status"], total.value) == (head.split()[1].decode(), 1)


@pytest.mark.parametrize(
    "request_sent",
    [
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["no HTTP", "long header", "long path", "two lengths"],
)
def test_what_is_no_http_is_one_answer_one_line_and_one_count_and_the_connection_ends(gate, caplog, request_sent):
    app, _ = gate(reading)

    async def run():
        async with listening(app) as (port, _):
            return await sent(port, request_sent, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    with caplog.at_level("INFO", "elasticface.service"):
        found = asyncio.run(run())
    assert found.count(b"HTTP/1.1 ") == found.lower().count(b"\r\nconnection: close\r\n") == 1
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\ncontent-security-policy: " in head
    assert json.loads(body)["type"] == "urn:elasticface:problem:no-http"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "elasticface.service"]
    assert " route=- status=400 " in line
    total = app.metrics.requests.collect()[0].samples[0]
    assert (total.labels["route"], total.labels["status"], total.value) == ("-", "400", 1)


def test_an_address_may_be_whole(gate):
    paths = []

    async def app(scope, receive, send):
        paths.append((scope["path"], scope["query_string"]))
        await answering(scope, receive, send)

    app, headers = gate(app)
    targets = (b"http://x/healthz", b"HTTPS://x:1/v1/a?b=http://c/d", b"http://x", b"/http://x")

    async def run():
        async with listening(app) as (port, _):
            for target in targets:
                await sent(port, b"GET " + target + b" HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n")

    asyncio.run(run())
    assert paths == [("/healthz", b""), ("/v1/a", b"b=http://c/d"), ("/", b""), ("/http://x", b"")]


def test_a_refused_request_is_answered_and_not_reset_and_the_connection_stays(gate):
    app, headers = gate(reading)
    refused = b"POST /v1/detect HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(1_000_000)
    last = b"GET /a HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n"

    async def run():
        async with listening(app) as (port, _):
            return await sent(port, refused, bytes(2_000_000), b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", last)

    found = asyncio.run(run())
    assert re.findall(rb"HTTP/1.1 (\d+)", found) == [b"401", b"401", b"200"]
    assert found.lower().count(b"connection: close") == 1  # as the last one has asked


def test_the_rest_of_a_refused_request_is_not_waited_for_without_end(gate, monkeypatch):
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    app, _ = gate(reading)

    async def run():
        async with listening(app) as (port, state), connection(port) as client, asyncio.timeout(5):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n")
            assert (await loop.sock_recv(client, 99)).startswith(b"HTTP/1.1 401 ")
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while state.connections:
                    await loop.sock_sendall(client, b"x")
                    await asyncio.sleep(0.05)

    asyncio.run(run())


def test_a_request_that_the_end_of_the_service_breaks_off_is_answered_and_logged_as_that(gate, caplog):
    begun = []

    async def never(scope, receive, send):
        begun.append(scope)
        await asyncio.sleep(60)

    app, headers = gate(never)

    async def run():
        async with listening(app) as (port, state):
            answer = asyncio.create_task(sent(port, b"GET /a HTTP/1.1\r\n" + headers + b"\r\n"))
            await until(lambda: begun)
            for one in state.tasks:  # as uvicorn does it
                one.cancel()
            return await answer

    with caplog.at_level("INFO", "elasticface.service"):
        head, _, body = asyncio.run(run()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["type"] == "urn:elasticface:problem:stopped"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "elasticface.service"]
    assert " status=503 " in line


def test_what_no_request_raises_is_a_line_without_a_traceback(caplog):
    class Broken(asyncio.Protocol):
        def data_received(self, data):
            raise ValueError("secret name")

    async def run():
        server = _Server(uvicorn.Config(answering, lifespan="off", log_config=None))
        server.lifespan = server.config.load() or server.config.lifespan_class(server.config)
        await server.startup(sockets=[])
        listening = await asyncio.get_running_loop().create_server(Broken, "127.0.0.1", 0)
        await sent(listening.sockets[0].getsockname()[1], b"x")
        listening.close()

    with caplog.at_level("INFO"):
        asyncio.run(run())
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert re.fullmatch(r"failed=ValueError at .*test_connections.py:\d+", line)
