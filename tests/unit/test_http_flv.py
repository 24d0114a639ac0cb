"""FLV over HTTP as a source: what it brings, and that no URL and no redirect leads it elsewhere."""

import asyncio
import ipaddress
import random
import socket
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from penstock.errors import AddressRefused, SourceError
from penstock.media import http
from penstock.media.http_flv import HttpFlvSource
from penstock.media.pump import Pump
from penstock.media.transport import SourceLeaf
from penstock.net import Policy
from tests.http_login import DigestGuard
from tests.http_peer import FORBIDDEN, HERE, Answer, Server, head_of, redirect, unauthorized
from tests.packets import Clip
from tests.parts import require
from tests.patience import PATIENCE
from tests.rtmp_wire import cut, flv_file
from tests.tls_front import TlsFront
from tests.unit.test_http_children import SPELLINGS

CLIP = Clip(seconds=2).messages()
FLV = flv_file(CLIP)
ALLOWED = Policy([ipaddress.ip_network(f"{HERE}/32")])
CHUNKED = ("Transfer-Encoding: chunked",)

Media = list[tuple[int, int, bytes]]


def chunked(size: int, *, more: bytes = b"", end: bytes = b"0\r\n\r\n") -> Answer:
    """The clip in chunks of this size; `more` stands after the size of each."""
    pieces = (b"%x%b\r\n%b\r\n" % (len(piece), more, piece) for piece in cut(FLV, size))
    return Answer(b"".join(pieces) + end, headers=("Transfer-Encoding: Chunked",), length=False)


def until_closed(body: bytes, *headers: str) -> Answer:
    """An answer whose length is not said."""
    return Answer(body, headers=headers, length=False)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Serves the clip at /x.flv."""
    async with Server() as running:
        running.pages["/x.flv"] = until_closed(FLV, "Content-Type: video/x-flv")
        yield running


def no_file(url: str) -> SourceLeaf:
    raise AssertionError(f"{url} is no file")


async def take(url: str, policy: Policy = ALLOWED) -> tuple[Media, str]:
    """Take a source until it ends: its media, and why it has ended."""
    pump, media = Pump(tick=0.005), Media()
    source = HttpFlvSource(policy, pump, no_file, url)
    try:
        async with asyncio.timeout(PATIENCE):
            await source.run(lambda _: None, lambda *message: media.append(message))
    except (SourceError, AddressRefused) as error:
        return media, error.message
    finally:
        pump.close()
    raise AssertionError("a source ends with a reason")


def whole() -> Media:
    return [(message.type, message.timestamp, message.payload) for message in CLIP]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (until_closed(FLV), "closed by the peer"),
        (chunked(5), "the server has ended the stream"),
        (chunked(777), "the server has ended the stream"),
        (chunked(1 << 20, more=b' ; name="v"'), "the server has ended the stream"),
        (chunked(777, end=b""), "closed by the peer"),
    ],
)
async def test_all_of_a_stream_is_taken_in_either_coding(server: Server, answer: Answer, why: str) -> None:
    """Every message with its time, to the last one."""
    server.pages["/x.flv"] = answer
    assert await take(f"{server.url}/x.flv?token=1") == (whole(), why)
    assert server.heads[0].startswith(f"GET /x.flv?token=1 HTTP/1.1\r\nHost: {HERE}:{server.port}\r\n")


async def test_user_and_password_are_told_to_the_server_they_are_for(server: Server) -> None:
    """When it asks for them, and to nobody that it sends us to."""
    server.pages["/a.flv"] = unauthorized('Basic realm="x"')
    authority = f"ann:p%40ss%C3%A9@{HERE}:{server.port}"
    assert await take(f"http://{authority}/a.flv") == ([], "HTTP status 401, the user name or the password is wrong")
    proof = b64encode("ann:p@ssé".encode()).decode()
    assert [f"\r\nAuthorization: Basic {proof}\r\n" in head for head in server.heads] == [False, True]

    server.pages["/b.flv"] = redirect(f"{server.url}/a.flv")
    server.heads.clear()
    wanted = f"redirected to {HERE}:{server.port}: HTTP status 401, a user name and a password are wanted"
    assert await take(f"http://{authority}/b.flv") == ([], wanted)
    assert not any("Authorization" in head for head in server.heads)


GUARDS = [("MD5", "auth"), ("SHA-256", "auth,auth-int"), ("MD5", "")]


@pytest.mark.parametrize("guard", GUARDS)
async def test_guard_of_these_tests_lets_curl_in(server: Server, guard: tuple[str, str]) -> None:
    """And keeps it out when its password is wrong."""
    server.guard = DigestGuard(*guard)
    for password, got in ((server.guard.password, FLV), ("hush", b"")):
        command = [str(require("curl")), "-s", "--digest", "-u", f"ann:{password}", f"{server.url}/x.flv?token=1,2"]
        curl = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert (await curl.communicate())[0] == got


@pytest.mark.parametrize("guard", GUARDS)
async def test_password_is_proven_by_a_digest(server: Server, guard: tuple[str, str]) -> None:
    """Wherever the server takes one; it is told neither here nor where a redirect on the same server leads."""
    server.guard = DigestGuard(*guard)
    server.pages["/y.flv"] = redirect("/x.flv?a=caméra")
    user = f"ann:{quote(server.guard.password)}"
    for path in ("x.flv?token=1,2", "y.flv"):
        media, _ = await take(f"http://{user}@{HERE}:{server.port}/{path}")
        assert media == whole()
    assert not any("p@ss" in head or "Basic" in head for head in server.heads)
    for wrong in ("ann:hush", "bob:hush", "ann"):
        reason = (await take(f"http://{wrong}@{HERE}:{server.port}/x.flv"))[1]
        assert reason == "HTTP status 401, the user name or the password is wrong"


@pytest.mark.parametrize(
    ("challenges", "words"),
    [
        ((), "the server wants a login of a kind that is not known"),
        (("Negotiate",), "the server wants a login of a kind that is not known"),
        (("Digest algorithm=MD2",), "the server wants a digest by MD2, which we do not know"),
        (('Digest realm="\0"',), "a control character cannot be told in a login"),
    ],
)
async def test_login_that_we_cannot_give_says_so(server: Server, challenges: tuple[str, ...], words: str) -> None:
    server.pages["/x.flv"] = unauthorized(*challenges)
    assert await take(f"http://ann:hush@{HERE}:{server.port}/x.flv") == ([], words)
    assert len(server.heads) == 1


async def test_address_is_asked_for_as_one(server: Server) -> None:
    """Whatever a caller writes into a path stays in it."""
    await take(f"{server.url}/caméra 1 HTTP/1.1\nX-Y: z%20/x.flv")
    assert server.heads[0].startswith("GET /cam%C3%A9ra%201%20HTTP/1.1X-Y:%20z%20/x.flv HTTP/1.1\r\n")


#: How the answer at /1.flv and at /2.flv leads to an authority.
WAYS = {"source": 0, "redirect": 1, "two redirects": 2}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SPELLINGS)
async def test_no_way_leads_to_an_address_that_is_refused(server: Server, way: str, name: str) -> None:
    """However it is written; and the same way leads to the address beside it, which is permitted."""
    for last, permitted in ((1, False), (2, True)):
        where = f"http://{SPELLINGS[name](last)}:{server.port}/x.flv"
        server.pages |= {"/1.flv": redirect(where), "/2.flv": redirect("/1.flv")}
        media, reason = await take(where if way == "source" else f"{server.url}/{WAYS[way]}.flv")
        assert media == (whole() if permitted else [])
        assert permitted or "is not public; the setting network.allow can permit it" in reason
    assert server.canary == 0


HOSTILE: dict[str, tuple[Answer, str]] = {
    "a page": (
        until_closed(b"<!DOCTYPE html>" * 99, "Content-Type: text/html"),
        "not FLV (the server calls it text/html)",
    ),
    "nothing": (until_closed(b""), "closed by the peer"),
    "half a header": (until_closed(FLV[:7]), "closed by the peer"),
    "an error": (Answer(status="500 Internal Server Error"), "HTTP status 500"),
    "a part": (Answer(FLV, status="206 Partial Content"), "HTTP status 206"),
    "no status": (Answer(status="+200"), "the server does not speak HTTP"),
    "a redirect to itself": (redirect("/y.flv"), "redirected more than 5 times"),
    "a redirect to nowhere": (redirect("http://[::1"), "redirected to what is no URL"),
    "a redirect to nothing": (redirect(""), "redirected to what is no URL"),
    "a redirect to no port": (redirect(f"http://{HERE}:99999/x.flv"), "redirected to what is no URL"),
    "a redirect to a file": (redirect("file:///etc/passwd"), "redirected to what is no URL"),
    "a redirect to RTMP": (redirect(f"rtmp://{HERE}/a/b"), "redirected to another protocol (rtmp)"),
    "a head without end": (Answer(headers=("X: " + "x" * 200_000,)), "the server does not speak HTTP"),
    "chunks that are none": (Answer(FLV, headers=CHUNKED), "the server's answer is not chunked as it claims"),
    "a chunk's size without end": (Answer(b"1" * 5000, headers=CHUNKED), "not chunked as it claims"),
    "a chunk of less than nothing": (Answer(b"-5\r\n", headers=CHUNKED), "not chunked as it claims"),
    "a chunk beyond all bounds": (Answer(b"f" * 30 + b"\r\n", headers=CHUNKED), "not chunked as it claims"),
    "a tag of another kind": (until_closed(FLV[:13] + bytes(99)), "a tag of type 0"),
    "an encrypted tag": (until_closed(FLV[:13] + b"\x29" + FLV[14:]), "this FLV is encrypted"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_no_source_says_why(server: Server, name: str) -> None:
    server.pages["/y.flv"], said = HOSTILE[name]
    media, reason = await take(f"{server.url}/y.flv")
    assert media == []
    assert said in reason
    assert len(server.heads) <= 6


@pytest.mark.parametrize("coding", [(), CHUNKED])
async def test_garbage_without_end_is_not_taken_for_long(server: Server, coding: tuple[str, ...]) -> None:
    body = random.Random(1).randbytes(1 << 16)
    server.pages["/y.flv"] = Answer(body, headers=coding, endless=True)
    media, reason = await take(f"{server.url}/y.flv")
    assert media == []
    assert "not FLV" in reason or "not chunked" in reason
    assert server.sent < 64 << 20


@pytest.mark.parametrize("answer", [until_closed(FLV), chunked(777)])
async def test_spoiled_answers_end_with_a_reason(answer: Answer) -> None:
    """Whichever bytes are wrong, of the head and of the body, and wherever they are cut."""
    rng, sound = random.Random(7), head_of(answer) + answer.body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        spoiled = bytearray(sound)
        for _ in range(rng.randrange(1, 4)):
            spoiled[int(len(sound) * rng.random() ** 3)] = rng.randrange(256)
        writer.write(spoiled[: rng.randrange(len(sound)) if rng.random() < 0.3 else None])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, HERE, 0) as hostile:
        port = hostile.sockets[0].getsockname()[1]
        reasons = {(await take(f"http://{HERE}:{port}/x.flv"))[1] for _ in range(150)}
    assert len(reasons) > 3
    assert not [reason for reason in reasons if "internal error" in reason]


async def test_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE", 0.2)
    with socket.create_server((HERE, 0)) as silent:
        url = f"http://{HERE}:{silent.getsockname()[1]}/x.flv"
        assert await take(url) == ([], "connected, but no answer within 0.2 s")


async def test_nobody_sends_us_to_our_own_hub(server: Server) -> None:
    """A caller's right to a stream there is checked for the URL that the caller gave."""
    policy = Policy([ipaddress.ip_network(f"{HERE}/32")], hub_names=["hub.penstock"], hub_http=(FORBIDDEN, server.port))
    for where in (f"{FORBIDDEN}:{server.port}", f"localhost:{server.port}", "hub.penstock"):
        server.pages["/y.flv"] = redirect(f"http://{where}/live/x.flv")
        assert await take(f"{server.url}/y.flv", policy) == ([], "redirected to this server itself")
    assert server.canary == 0


async def test_certificates_are_verified_unless_the_host_is_named(server: Server, tmp_path: Path) -> None:
    """Also where a redirect leads from HTTP to HTTPS."""
    loopback = [ipaddress.ip_network("127.0.0.0/8")]
    with TlsFront(tmp_path, server.port, host=HERE) as front:
        server.pages["/y.flv"] = redirect(f"https://127.0.0.1:{front.port}/x.flv")
        for url in (f"https://127.0.0.1:{front.port}/x.flv", f"{server.url}/y.flv"):
            media, reason = await take(url, Policy(loopback))
            assert media == []
            assert "the certificate of 127.0.0.1 is not trusted" in reason
            assert "the setting tls.insecure_hosts can permit it" in reason
            media, _ = await take(url, Policy(loopback, insecure_hosts=["127.0.0.1"]))
            assert media == whole()


async def test_server_that_speaks_no_tls_says_so(server: Server) -> None:
    media, reason = await take(f"https://{HERE}:{server.port}/x.flv")
    assert media == []
    assert reason.startswith(f"no TLS with {HERE}: ")
