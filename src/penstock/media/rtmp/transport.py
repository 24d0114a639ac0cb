"""RTMP as a source and as a sink: connect, work, raise. No retry, no state."""

import asyncio
from collections.abc import Callable

from penstock.errors import MediaError, SinkError, SourceError
from penstock.media.framing import rtmp_publish
from penstock.media.meter import Meter
from penstock.media.pump import Connection, OnMessage, Pump
from penstock.media.rtmp import amf, chunk
from penstock.media.rtmp.client import ClientSession
from penstock.media.rtmp.refusal import refusal, refuses, without_key
from penstock.media.rtmp.session import Session, command
from penstock.media.stream import Receiver, Stream
from penstock.net import Policy

#: Seconds in which a destination may take what is queued for it, and our goodbye.
GOODBYE = 1.5
#: What a server says when the publisher has left.
_END_CODES = ("NetStream.Play.UnpublishNotify", "NetStream.Play.Stop", "NetStream.Play.Complete")


class RtmpSource:
    """Plays one stream."""

    def __init__(self, policy: Policy, pump: Pump, url: str) -> None:
        self._policy = policy
        self._pump = pump
        self._url = url

    async def run(self, connected: Callable[[Connection], None], on_media: OnMessage) -> None:
        """Play until it ends; always raises `SourceError` (or `AddressRefused`)."""
        try:
            session = await ClientSession.play(self._policy, self._url)
        except MediaError as error:
            raise SourceError(error.message) from error
        connection = self._pump.add(session.sock, session.reader, on_media=on_media)
        connection.on_command = lambda type_, _, payload: _end(connection, type_, payload)
        connected(connection)
        try:
            _dispatch_backlog(session, connection)
            reason = await connection.wait_closed()
        finally:
            connection.close(None)
        raise SourceError(without_key(reason or "ended", session.url))


class RtmpSink:
    """Publishes one stream."""

    def __init__(self, policy: Policy, pump: Pump, url: str) -> None:
        self._policy = policy
        self._pump = pump
        self._url = url

    async def run(self, connected: Callable[[Connection, Receiver], None], stream: Stream, meter: Meter) -> None:
        """Publish `stream` until it fails; always raises `SinkError` (or `AddressRefused`). Cancelled, unpublish."""
        try:
            session = await ClientSession.publish(self._policy, self._url)
        except MediaError as error:
            raise SinkError(error.message) from error
        connection = self._pump.add(session.sock, session.reader)
        connection.on_command = lambda type_, _, payload: _refused(connection, type_, payload)
        receiver = stream.add(connection, rtmp_publish(session.stream_id), meter)
        connected(connection, receiver)
        try:
            _dispatch_backlog(session, connection)
            reason = await connection.wait_closed()
        finally:
            stream.remove(receiver)
            if not connection.closed.done():
                connection.send(command("FCUnpublish", 6, None, session.name))
                connection.send(command("deleteStream", 7, None, session.stream_id))
                connection.finish()
                await asyncio.wait([connection.closed], timeout=GOODBYE)
                connection.close(None)
        raise SinkError(without_key(reason or "ended", session.url))


def _dispatch_backlog(session: Session, connection: Connection) -> None:
    while session.backlog and not connection.closed.done():
        connection.dispatch(session.backlog.popleft())


def _end(connection: Connection, type_: int, payload: bytes) -> None:
    """Close when the server says that the stream is over."""
    if reason := ending(type_, payload):
        connection.close(reason)


def ending(type_: int, payload: bytes) -> str:
    """Return why the stream is over, if that is what a server says with this message to its player; else nothing."""
    if type_ == chunk.USER_CONTROL:
        return "the publisher has left" if payload[:2] == chunk.STREAM_EOF.to_bytes(2, "big") else ""
    answer = amf.decode(payload)
    words = refusal(answer)
    if any(code in words for code in _END_CODES):
        return "the publisher has left"
    return words if refuses(answer) else ""


def _refused(connection: Connection, type_: int, payload: bytes) -> None:
    """Close when the server takes its consent back."""
    if type_ == chunk.USER_CONTROL:
        return
    answer = amf.decode(payload)
    if refuses(answer):
        connection.close(refusal(answer))
