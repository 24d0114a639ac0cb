"""The one HTTP port: the vendors' APIs at ``/``, health, and what else answers over HTTP.

An ASGI application that gets all it needs handed in, and the server that carries it on a bound socket.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.api.http import SMALL_BODY, BodyLost, BodyTooLarge, Head, ReadBody, Reply
from penstock.api.metrics import CONTENT_TYPE, Metrics

log = structlog.get_logger()

#: Seconds that a request's head, and then its body, may take to arrive.
HEAD_TIMEOUT = 15
BODY_TIMEOUT = 60
#: Seconds that a connection may idle between requests: longer than clients keep theirs in a pool.
IDLE_TIMEOUT = 75
#: Bytes and lines of a request's head.
MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
#: Connections at once; more are answered 503.
MAX_CONNECTIONS = 2000
#: Bodies longer than `SMALL_BODY` bytes that are in memory at once; more wait.
LARGE_BODIES = 8
#: How uvloop refuses to write to a connection that this end has closed.
HUNG_UP = "the handler is closed"
#: Seconds that requests under way may take to end when the server stops.
DRAIN_TIMEOUT = 5


class Wire(Protocol):
    """One vendor's API."""

    async def recognises(self, head: Head, read: ReadBody) -> bool:
        """Whether a request is, or tries to be, a call of this vendor's. Raise `BodyLost`."""
        ...

    async def answer(self, head: Head, read: ReadBody) -> Reply:
        """Carry out the call that a request makes. Raise `BodyLost`, and nothing else."""
        ...


class Api:
    """The ASGI application: calls at ``/``, and by way of Starlette all else, which nobody asks a thousand times."""

    def __init__(self, wires: Sequence[Wire], metrics: Metrics, others: ASGIApp) -> None:
        """The first of `wires` that recognises a call answers it."""
        self._wires = wires
        self._metrics = metrics
        self._others = others
        self._large_bodies = asyncio.Semaphore(LARGE_BODIES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if not (scope["type"] == "http" and scope["path"] == "/" and await self._answered(scope, receive, send)):
                await self._others(scope, receive, send)
        except RuntimeError as error:
            # What followed the request was no HTTP, so uvicorn has closed the connection, but lets us write to it.
            if HUNG_UP not in str(error):
                raise

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Carry out a call, count it, and log it in one line. False: this is none, and nothing was done."""
        began = time.monotonic()
        head = head_of(scope)
        body = Body(head, receive, self._large_bodies)
        try:
            for wire in self._wires:
                if await wire.recognises(head, body.read):
                    reply = await wire.answer(head, body.read)
                    break
            else:
                return False
        except BodyLost:
            await respond(send, 408, b"The body did not arrive.\n", b"text/plain", (b"connection", b"close"))
            return True
        finally:
            body.drop()
        took = time.monotonic() - began
        self._metrics.called(reply.service, reply.action, reply.code, took, limit=reply.limit)
        log.info(
            "api.call",
            request_id=reply.request_id,
            service=reply.service,
            action=reply.action,
            account=reply.account_id,
            code=reply.code,
            client=head.client,
            ms=round(took * 1000, 1),
        )
        await respond(send, reply.status, reply.body, reply.kind)
        return True


def create_app(wires: Sequence[Wire], *, obstacle: Callable[[], Awaitable[str]], metrics: Metrics) -> ASGIApp:
    """The application; `obstacle` tells why answers are not truthful now; empty: they are."""

    async def root(_: Request) -> Response:
        return PlainTextResponse("Penstock: POST API calls here.\n", 404)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if reason := await obstacle():
            return PlainTextResponse(f"not ready: {reason}\n", 503)
        return PlainTextResponse("ready\n")

    async def counted(_: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    others = Starlette(
        routes=[
            Route("/", root),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", counted),
        ]
    )
    return Api(wires, metrics, others)


def head_of(scope: Scope) -> Head:
    """The request's head, undecoded but for its letters."""
    return Head(
        method=scope["method"],
        query=scope["query_string"].decode("latin-1"),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        client=scope["client"][0] if scope.get("client") else "",
    )


async def respond(send: Send, status: int, body: bytes, kind: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole response; `kind` is its media type."""
    named = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})


class Body:
    """A request's body, read once, bounded in size and time, and with all others in memory."""

    def __init__(self, head: Head, receive: Receive, large_bodies: asyncio.Semaphore) -> None:
        self._head = head
        self._receive = receive
        self._large_bodies = large_bodies
        self._is_large = False
        self._read: bytes | None = None

    def drop(self) -> None:
        """Nobody needs it any more; a large one makes room for the next."""
        self._read = None
        if self._is_large:
            self._is_large = False
            self._large_bodies.release()

    async def read(self, limit: int) -> bytes:
        """The whole body. Raise `BodyTooLarge` if it is longer than `limit` bytes, or `BodyLost`."""
        if self._read is None:
            if self._head.announced > limit and "content-length" in self._head.headers:
                raise BodyTooLarge
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    self._read = await self._within(limit)
            except TimeoutError as error:
                raise BodyLost from error
        return self._read

    async def _within(self, limit: int) -> bytes:
        body, more = b"", True
        while more and len(body) <= SMALL_BODY:
            part, more = await self._next(limit - len(body))
            body += part
        if not more:
            return body
        await self._large_bodies.acquire()
        self._is_large = True
        parts, length = [body], len(body)
        while more:
            part, more = await self._next(limit - length)
            parts.append(part)
            length += len(part)
        return b"".join(parts)

    async def _next(self, limit: int) -> tuple[bytes, bool]:
        """The next part, at most `limit` bytes, and whether there are more. Raise as `read`."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise BodyLost
        part = message.get("body", b"")
        if len(part) > limit:
            raise BodyTooLarge
        return part, message.get("more_body", False)


class BoundedHttp(HttpToolsProtocol):
    """Bounds what uvicorn leaves open: the size of a request's head, and the time it takes to arrive."""

    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise ValueError("too many headers")  # the parser stops, and uvicorn answers 400
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._stop_timer()
        self._in_head, self._head_bytes = True, 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """uvicorn's server without hands on the process: signals belong to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: ASGIApp, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
    """Serve on a bound socket until cancelled; then let calls under way end. Closes the socket.

    `tls`: how to serve HTTPS; None: HTTP.
    """
    config = uvicorn.Config(
        app,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_TIMEOUT,
        timeout_graceful_shutdown=DRAIN_TIMEOUT,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
