"""The RTMP client's command phase, in virtual time: what it asks for, and what becomes of odd answers."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from penstock.errors import MediaError
from penstock.media.rtmp.client import ClientSession
from penstock.media.rtmp.session import split_url
from penstock.net import Policy
from tests import packets
from tests.rtmp_peer import STREAM, Connection, Peer
from tests.rtmp_wire import AUDIO, VIDEO, Message, amf

pytestmark = pytest.mark.looptime(noop_cycles=12)

POLICY = Policy([ipaddress.ip_network("127.0.0.0/8")])

Answer = Callable[[Connection, float], None]


class Server(Peer):
    """Answers some commands in a way of its own, others as usual."""

    def __init__(self, **answers: Answer) -> None:
        super().__init__()
        self._answers = answers

    def _command(self, connection: Connection, verb: str, transaction: float, *values: object) -> None:
        if verb in self._answers:
            self._answers[verb](connection, transaction)
        else:
            super()._command(connection, verb, transaction, *values)


@asynccontextmanager
async def raw(answer: bytes, *, close: bool) -> AsyncIterator[str]:
    """A server that sends some bytes to whoever connects."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if close:
            writer.write_eof()
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"rtmp://127.0.0.1:{server.sockets[0].getsockname()[1]}/live/test"
        await ended.wait()


async def reason(url: str, *, publishing: bool = False) -> str:
    """Why a session could not be opened."""
    with pytest.raises(MediaError) as caught:
        await (ClientSession.publish if publishing else ClientSession.play)(POLICY, url)
    return caught.value.message


async def test_a_publisher_asks_as_encoders_do() -> None:
    """The stream's name with its query; tcUrl and app without it."""
    async with Server() as server:
        session = await ClientSession.publish(POLICY, f"{server.url}?txSecret=1&txTime=2")
        session.close()
        (connection,) = server.connections
    verbs = [command[0] for command in connection.commands]
    assert verbs == ["connect", "releaseStream", "FCPublish", "createStream", "publish"]
    assert (connection.app, connection.tc_url) == ("live", f"rtmp://127.0.0.1:{server.port}/live")
    assert connection.commands[-1][3:] == ["test?txSecret=1&txTime=2", "live"]
    assert session.stream_id == STREAM


async def test_a_player_asks_for_a_live_stream_with_a_short_buffer() -> None:
    """-2000: live, and recorded only if there is none."""
    async with Server() as server:
        session = await ClientSession.play(POLICY, server.url)
        await server.until(lambda: server.connections[0].controls)
        session.close()
        (connection,) = server.connections
    assert connection.commands[-1][3:] == ["test", -2000]
    assert connection.controls[-1].payload == bytes.fromhex("0003 00000001 000003e8")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("rtmp://h/live/x", ("rtmp://h/live", "live", "x")),
        ("rtmp://h:19350/a/b/x?k=v&w", ("rtmp://h:19350/a/b", "a/b", "x?k=v&w")),
        ("rtmp://user:pw@h/live/x", ("rtmp://h/live", "live", "x")),
        ("rtmp://[2001:db8::1]:1935/live/x", ("rtmp://[2001:db8::1]:1935/live", "live", "x")),
        ("rtmp://h/x", ("rtmp://h/", "", "x")),
        ("rtmp://h/live/", ("rtmp://h/live", "live", "")),
    ],
)
def test_the_last_part_of_the_path_names_the_stream(url: str, parts: tuple[str, str, str]) -> None:
    """What stands before is the application; user and password are not passed on."""
    assert split_url(url) == parts


async def test_media_that_comes_with_the_consent_is_kept() -> None:
    """Servers send headers, even pictures, before they say that they play."""
    early = [Message(VIDEO, 0, packets.AVC_HEADER), Message(AUDIO, 0, packets.aac_header())]

    def play(connection: Connection, _: float) -> None:
        connection.send(early[0])
        connection.status("NetStream.Play.Start")
        connection.send(early[1])

    async with Server(play=play) as server:
        session = await ClientSession.play(POLICY, server.url)
        left = list(session.backlog)
        if len(left) < 2:
            assert isinstance(session.sock, socket.socket)
            left += session.reader.feed(await asyncio.get_running_loop().sock_recv(session.sock, 65536))
        session.close()
    assert left == [(m.type, m.timestamp, m.payload) for m in early]


async def test_a_ping_before_the_consent_is_answered() -> None:
    """Some servers check that we live before they do anything."""

    def connect(connection: Connection, transaction: float) -> None:
        connection.send(Message(4, 0, bytes.fromhex("0006 0000002a"), csid=2))
        connection.command("_result", transaction, {}, {"level": "status"})

    async with Server(connect=connect) as server:
        session = await ClientSession.play(POLICY, server.url)
        session.close()
        await server.until(lambda: server.connections[0].closed)
        assert bytes.fromhex("0007 0000002a") in [message.payload for message in server.connections[0].controls]


async def test_commands_may_come_in_their_amf3_wrapping() -> None:
    """A zero byte, then AMF0."""

    def connect(connection: Connection, transaction: float) -> None:
        connection.send(Message(17, 0, b"\0" + amf("_result", transaction, {}, {"level": "status"})))

    async with Server(connect=connect) as server:
        (await ClientSession.play(POLICY, server.url)).close()


def error(code: str = "", description: str = "") -> Answer:
    """An _error with what the server has to say."""
    info = {"level": "error", "code": code, "description": description} if code else None
    return lambda connection, transaction: connection.command("_error", transaction, None, info)


def result(*values: object) -> Answer:
    """A _result with these values."""
    return lambda connection, transaction: connection.command("_result", transaction, None, *values)


def status(code: str, level: str) -> Answer:
    """An onStatus."""
    return lambda connection, _: connection.status(code, "because", level=level)


#: What: (answers, words).
REFUSALS: dict[str, tuple[dict[str, Answer], str]] = {
    "connect refused": (
        {"connect": error("NetConnection.Connect.Rejected", "[ AccessManager.Reject ]")},
        "refused by the server: NetConnection.Connect.Rejected, [ AccessManager.Reject ]",
    ),
    "connect refused without a word": ({"connect": error()}, "refused by the server"),
    "connect closed": ({"connect": lambda c, _: c.command("close", 0, None)}, "refused by the server"),
    "connect refused by status": (
        {"connect": status("NetConnection.Connect.InvalidApp", "error")},
        "refused by the server, no such application: NetConnection.Connect.InvalidApp, because",
    ),
    "no stream": ({"createStream": error("NetStream.Failed")}, "refused by the server: NetStream.Failed"),
    "stream without number": ({"createStream": result()}, "the server gave no usable message stream"),
    "negative stream": ({"createStream": result(-1)}, "the server gave no usable message stream"),
    "named stream": ({"createStream": result("one")}, "the server gave no usable message stream"),
    "no number of a stream": ({"createStream": result(float("nan"))}, "the server gave no usable message stream"),
    "connect wants a user": (
        {"connect": error("NetConnection.Connect.Rejected", "[ code=403 need auth; authmod=adobe ]")},
        "a user name and a password are wanted: NetConnection.Connect.Rejected, [ code=403 need auth; authmod=adobe ]",
    ),
    "not found": (
        {"play": status("NetStream.Play.StreamNotFound", "error")},
        "refused by the server, no such stream: NetStream.Play.StreamNotFound, because",
    ),
    "not found, as if that were fine": (
        {"play": status("NetStream.Play.StreamNotFound", "status")},
        "refused by the server, no such stream: NetStream.Play.StreamNotFound, because",
    ),
    "not authorized": (
        {"play": status("NetStream.Play.Unauthorized", "error")},
        "refused by the server, not authorized: NetStream.Play.Unauthorized, because",
    ),
    "error without a code": ({"play": lambda c, _: c.command("onStatus", 0, None, {"level": "error"})}, "refused by"),
    "a code that is none": (
        {"play": lambda c, _: c.command("onStatus", 0, None, {"level": "error", "code": {"a": [1]}})},
        "refused by the server: {'a': [1.0]}",
    ),
    "play closed": ({"play": lambda c, _: c.command("close")}, "refused by the server"),
    "reset": ({"play": lambda c, _: c.drop()}, "the server closed the connection before media flowed"),
    "garbage": (
        {"play": lambda c, _: c.writer.write(b"\xff" * 100)},
        "chunk stream 63 begins without a header",
    ),
    "broken command": (
        {"play": lambda c, _: c.send(Message(20, 0, b"\x03\0"))},
        "AMF data ends in the middle of a value",
    ),
    "nothing": ({"play": lambda _, __: None}, "connected, but no answer within 10 s"),
    "media without end": (
        {"play": lambda c, _: c.send(*(Message(AUDIO, at, packets.sound()) for at in range(1100)))},
        "the peer sends more than it was asked to",
    ),
    "large media": (
        {"play": lambda c, _: c.send(*(Message(AUDIO, 0, bytes(1 << 20), stream_id=STREAM) for _ in range(17)))},
        "the peer sends more than it was asked to",
    ),
    "commands without end": (
        {"play": lambda c, _: c.send(*[Message(20, 0, amf("onBWDone", 0))] * 100)},
        "the peer sends more commands than anybody needs",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_refusal_is_told_in_the_servers_words(what: str) -> None:
    """Its code and description, or what was wrong with it; the connection is closed."""
    answers, words = REFUSALS[what]
    async with Server(**answers) as server:
        assert words in await reason(server.url)
        await server.until(lambda: server.connections[0].closed)


async def test_a_very_long_description_is_cut() -> None:
    """It goes into ErrorInfo."""
    async with Server(connect=error("x" * 10_000, "y" * 60_000)) as server:
        assert len(await reason(server.url)) < 400


@pytest.mark.parametrize("publishing", [True, False])
@pytest.mark.parametrize(
    ("answer", "close", "words"),
    [
        (b"", True, "the server closed the connection before media flowed"),
        (b"", False, "connected, but no answer within 10 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "the server closed the connection before media flowed"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, True, "the peer does not speak RTMP"),
        (b"\x03" + bytes(3072), True, "the server closed the connection before media flowed"),
        (b"\x03" + bytes(3072) + b"\x00" * 5000, False, "chunk"),
    ],
    ids=["closes", "silent", "short http", "long http", "hangs up after the handshake", "zeros"],
)
async def test_a_server_that_speaks_something_else_is_told_apart(
    answer: bytes, close: bool, words: str, publishing: bool
) -> None:
    """From one that refuses."""
    async with raw(answer, close=close) as url:
        found = await reason(url, publishing=publishing)
        assert words in found or (words == "chunk" and "no answer" in found)
