"""What every request passes, whatever it asks for: an id, the key, its answer's headers, and one line in the log."""

import asyncio
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elasticface.service.forms import too_large
from elasticface.service.keys import Key
from elasticface.service.limits import HEAD_BYTES, Limits
from elasticface.service.log import log, where
from elasticface.service.metrics import Metrics
from elasticface.service.problems import Problem

OPEN = frozenset(["/healthz", "/readyz", "/docs", "/openapi.json", "/"])
OPEN_BELOW = "/page/"
"""Paths that need no key: whether the service is alive and ready, one bit each, for what starts and balances services
and should hold no secret; and the description of the API and the page with its files, which are the same for everyone
and in the package."""

CONTENT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of an answer that a browser shows: nothing in it runs or loads, and no page has it in a frame."""

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of every answer, unless its route gives others."""

CLIENT_GONE = 499
"""How the log and the metrics have a request whose client left before its answer; nginx's number."""

BROKEN = "broken"
"""In the state of a request whose body is no HTTP, as the server has found."""

NO_METHOD = "-"
"""Of a request that is no HTTP."""

_METHODS = frozenset(f"GET HEAD POST PUT PATCH DELETE OPTIONS {NO_METHOD}".split())
_AUTHORITY = re.compile("^https?://[^/]*", re.IGNORECASE)  # a client may send all of the address (RFC 9112, 3.2.2)


def no_http() -> Problem:
    """What was sent is no HTTP. What follows it on the connection is not read: where it begins is not known."""
    ambiguous = "or one with both Content-Length and Transfer-Encoding"
    told = f"no HTTP request, one with more than {HEAD_BYTES:,} bytes of headers, {ambiguous}"
    return Problem(400, "no-http", told, {"Connection": "close"})


class Gate:
    """ASGI middleware around all routes.

    A request's id is made here: one that the client sends is not looked at, so it can neither forge nor flood a log.
    The log has the method, the route's template, status, time and sizes; no path, query, header or address. HEAD is
    answered as GET, without the body.
    """

    def __init__(self, app: ASGIApp, key: Key, limits: Limits, metrics: Metrics) -> None:
        self.app, self.key, self.limits, self.metrics = app, key, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, method = time.perf_counter(), scope["method"]
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(receive, send, scope["state"], with_body=method != "HEAD")
        path = _AUTHORITY.sub("", scope["path"]) or "/"
        scope = {**scope, "path": path, "method": "GET" if method == "HEAD" else method}
        try:
            if BROKEN in scope["state"] or _is_ambiguous(scope) or _head_bytes(scope) > HEAD_BYTES:
                raise no_http()
            self._check(scope)
            await self.app(scope, exchange.receive, exchange.send)
        except Problem as problem:
            await problem.answer(request_id)(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = CLIENT_GONE
        except asyncio.CancelledError:  # the service is stopped, and waits no longer
            if exchange.status == 0:
                stopped = Problem(503, "stopped", "the service was stopped before it had the answer; ask again")
                await stopped.answer(request_id)(scope, exchange.receive, exchange.send)
            raise
        except Exception as error:
            log.error("id=%s failed=%s", request_id, where(error))
            if exchange.status == 0:
                failure = Problem(500, "failure", "the service failed; its log has more under this id")
                await failure.answer(request_id)(scope, exchange.receive, exchange.send)
        finally:
            self._record(method, scope, exchange, time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        headers = {name: value for name, value in scope["headers"] if name in (b"x-api-key", b"content-length")}
        if scope["path"] not in OPEN and not scope["path"].startswith(OPEN_BELOW):
            given = headers.get(b"x-api-key")
            if given is None:
                raise Problem(401, "no-key", "send the API key in the header X-API-Key", _CHALLENGE)
            if not self.key.matches(given):
                raise Problem(401, "wrong-key", "the API key in X-API-Key is not that of this service", _CHALLENGE)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.limits.request_bytes:
            raise too_large(self.limits)

    def _record(self, method: str, scope: Scope, exchange: "_Exchange", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "-")
        method = method if method in _METHODS else "other"
        status, request_id = exchange.status or CLIENT_GONE, scope["state"]["request_id"]
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        log.info(
            "id=%s method=%s route=%s status=%d ms=%.1f in=%d out=%d",
            *(request_id, method, route, status, 1000 * seconds, exchange.bytes_in, exchange.bytes_out),
        )


def _is_ambiguous(scope: Scope) -> bool:
    """Whether two headers say where the body ends: a proxy may go by the other one (RFC 9112, 6.1)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


def _head_bytes(scope: Scope) -> int:
    """Of a request's first line and headers; the server bounds only those that come in several pieces."""
    line = len(scope["method"]) + len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])


_CHALLENGE = {"WWW-Authenticate": 'ApiKey realm="elasticface"'}


class _Exchange:
    """A request's messages on their way in and out: counted; answers get their headers, and those to HEAD no body."""

    def __init__(self, receive: Receive, send: Send, state: MutableMapping[str, Any], with_body: bool) -> None:
        self._receive, self._send, self._state, self._with_body = receive, send, state, with_body
        self.status, self.bytes_in, self.bytes_out = 0, 0, 0  # status 0: no answer has begun

    async def receive(self) -> Message:
        message = await self._receive()
        if BROKEN in self._state:
            raise no_http()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._headers(message)}
        elif message["type"] == "http.response.body":
            if not self._with_body:
                message = {**message, "body": b""}
            self.bytes_out += len(message.get("body", b""))
        await self._send(message)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = list(message.get("headers", []))
        there = {name.lower() for name, _ in headers}
        extra = SECURITY_HEADERS | {"X-Request-Id": self._state["request_id"]}
        encoded = [(name.lower().encode(), value.encode()) for name, value in extra.items()]
        return headers + [(name, value) for name, value in encoded if name not in there]
