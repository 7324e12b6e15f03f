"""From an application to a process that serves it: the socket, the HTTP server with bounds of its own, and its end."""

import asyncio
import ipaddress
import socket
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from elasticface.base.errors import InputError
from elasticface.service.gate import BROKEN, NO_METHOD
from elasticface.service.limits import BACKLOG, HEAD_BYTES, HEAD_SECONDS, KEEP_ALIVE_SECONDS, MOST_CONNECTIONS, Limits
from elasticface.service.log import log, to_stderr, where


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to already, though nothing answers yet.

    Args:
        host: a name or an address.
        port: 0 takes any free one.

    Raises:
        InputError: there is no such host or port, the port is taken, or may not be used.
    """
    if not 0 <= port < 1 << 16:  # getaddrinfo would take its last 16 bits
        raise InputError(f"--port {port}: there is none; give one from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: cannot listen there: {reason}; give another") from error


def is_local(listening: socket.socket) -> bool:
    """Whether only this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def serve(app: FastAPI, listening: socket.socket, limits: Limits) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then finish those that are there, and take no new ones.

    Args:
        app: of :func:`create_app`.
        listening: of :func:`listen`; closed at the end.
        limits: the application's.
    """
    to_stderr()
    protocol: Any = partial(_Protocol, take_seconds=limits.upload_seconds)
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # no address is used, so none is to be believed
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(round(limits.stop_seconds), 1),
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    with listening:
        asyncio.run(_Server(config).serve([listening]))


class _Server(uvicorn.Server):
    """Ends with 0 when it was told to end: uvicorn would raise the signal once more, which ends with 143."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_failed)
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


class _Protocol(H11Protocol):
    """uvicorn's, for clients of all kinds: connections have a bound, and each waits only so long for its client.

    Args:
        arguments: uvicorn's.
        take_seconds: for a client to take what it is sent.
    """

    def __init__(self, *arguments: Any, take_seconds: float, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._take_seconds = take_seconds
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        # pause_writing is called once the kernel takes no more, whatever is left, and resume_writing once all has gone:
        # a transport that was closed with something left would wait for its client for ever.
        transport.set_write_buffer_limits(0)
        self._head = self.loop.call_later(HEAD_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.ERROR:  # what comes after what was no HTTP
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head = _cancel(self._head)
        elif self._head is None:  # a next request has begun, or there is more of a body that was refused: it is dropped
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head, self._stalled = _cancel(self._head), _cancel(self._stalled)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self._take_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stalled = _cancel(self._stalled)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or has headers beyond all measure, is answered as everything else is."""
        if self.cycle is not None and not self.cycle.response_complete:  # a body: its request answers and is logged
            self.scope["state"][BROKEN] = True
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
            return
        if self.conn.our_state is not h11.IDLE:  # the rest of a request that is answered
            self.transport.close()
            return
        scope: Any = {"type": "http", "method": NO_METHOD, "path": "", "query_string": b"", "headers": []}
        self.scope = scope | {"state": {BROKEN: True}}
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            conn=self.conn,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            on_response=self.on_response_complete,
        )
        task = self.loop.create_task(self.cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)


def _failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no request has raised is a line in the log as well, where asyncio would write a traceback."""
    error: BaseException | None = context.get("exception")
    log.error("failed=%s", context["message"] if error is None else where(error))


def _cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """None, which a cancelled timer leaves behind."""
    if timer is not None:
        timer.cancel()
    return None
