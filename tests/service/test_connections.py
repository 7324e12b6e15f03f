"""What the HTTP server does with clients that no program is: each is answered or given up, in one line of the log."""

import asyncio
import contextlib
import socket

import uvicorn
from uvicorn.server import ServerState

from elasticface.service.serving import _Protocol


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
