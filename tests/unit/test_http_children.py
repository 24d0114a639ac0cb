"""FFmpeg children over HTTP: what they bring, and that no URL, redirect or playlist leads them elsewhere."""

import asyncio
import ipaddress
import random
import socket
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from penstock.errors import SourceError
from penstock.media import ffmpeg
from penstock.media.child import Children
from penstock.media.ffmpeg import FfmpegSource
from penstock.media.packet import AUDIO, VIDEO
from penstock.media.proxy import HttpProxy
from penstock.media.pump import Pump
from penstock.net import Policy, authorities
from tests.http_peer import HERE, Answer, Server, playlist, redirect
from tests.media import clip, ffmpeg_exe
from tests.patience import PATIENCE

#: Ways to write an address whose last number is this one. The port is the same everywhere.
SPELLINGS: dict[str, Callable[[int], str]] = {
    "plain": lambda last: f"127.0.0.{last}",
    "short": lambda last: f"127.{last}",
    "three parts": lambda last: f"127.0.{last}",
    "zeros": lambda last: f"127.0.0.00{last}",
    "decimal": lambda last: f"{(127 << 24) + last}",
    "hexadecimal": lambda last: f"{(127 << 24) + last:#x}",
    "capitals": lambda last: f"0X7F.0.0.0x{last}",
    "octal": lambda last: f"0{(127 << 24) + last:o}",
    "octal parts": lambda last: f"0177.00.0.0{last}",
    "mixed": lambda last: f"0x7f.0.0{last}",
    "mapped": lambda last: f"[::ffff:127.0.0.{last}]",
    "mapped hexadecimal": lambda last: f"[::ffff:7f00:{last}]",
    "mapped at length": lambda last: f"[0:0:0:0:0:ffff:7f00:{last}]",
    "with a user": lambda last: f"public.example@127.0.0.{last}",
    "with a password": lambda last: f"u:8.8.8.8@127.0.0.{last}",
}


@cache
def segment() -> bytes:
    """Two seconds of MPEG-TS."""
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("plain")), "-t", "2", "-c", "copy"]
    return subprocess.run([*command, "-f", "mpegts", "-"], check=True, capture_output=True).stdout


@cache
def sealed() -> bytes:
    """The same, encrypted (AES-128 with a key and a start of zeros, as the first segment of a playlist has it)."""
    command = ["openssl", "enc", "-aes-128-cbc", "-K", "00" * 16, "-iv", "00" * 16]
    return subprocess.run(command, input=segment(), check=True, capture_output=True).stdout


def master(variant: str) -> Answer:
    """A playlist of playlists."""
    return Answer(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\n{variant}\n".encode())


def encrypted(key: str) -> Answer:
    """A playlist whose segment needs a key."""
    return playlist("/sealed.ts", before=f'#EXT-X-KEY:METHOD=AES-128,URI="{key}"')


def mapped(url: str) -> Answer:
    """A playlist whose segment needs another one before it."""
    return playlist("/s.ts", before=f'#EXT-X-MAP:URI="{url}"')


#: How a URL reaches a child: what is said at /index.m3u8 (None: it is the source's own) and at /next.
VECTORS: dict[str, Callable[[str], tuple[Answer | None, Answer | None]]] = {
    "source": lambda _: (None, None),
    "redirect": lambda url: (redirect(f"{url}/list.m3u8"), None),
    "two redirects": lambda url: (redirect("/next"), redirect(f"{url}/list.m3u8")),
    "segment": lambda url: (playlist(f"{url}/s.ts"), None),
    "redirect of a segment": lambda url: (playlist("/next"), redirect(f"{url}/s.ts")),
    "variant": lambda url: (master(f"{url}/list.m3u8"), None),
    "key": lambda url: (encrypted(f"{url}/key"), None),
    "map": lambda url: (mapped(f"{url}/s.ts"), None),
}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Serves a playlist and its segment."""
    async with Server() as running:
        running.pages |= {"/s.ts": Answer(segment()), "/list.m3u8": playlist("/s.ts"), "/key": Answer(bytes(16))}
        running.pages["/sealed.ts"] = Answer(sealed())
        yield running


async def take(url: str, *, pictures: int = 1, type_: int = VIDEO) -> tuple[int, str]:
    """Take a source until it has brought so many pictures, or has failed: their number, and why it failed.

    `type_`: what to count instead of pictures.
    """
    pump, enough, got = Pump(tick=0.01), asyncio.Event(), 0

    def on_media(this: int, _: int, payload: bytes) -> None:
        nonlocal got
        got += this == type_
        if got >= pictures:
            enough.set()

    policy = Policy([ipaddress.ip_network(f"{HERE}/32")])
    source = FfmpegSource(get_ffmpeg_exe(), Children(certificates=authorities()), policy, pump, url)
    running = asyncio.ensure_future(source.run(lambda _: None, on_media))
    waiting = asyncio.ensure_future(enough.wait())
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        reason = ""
        if running.done():
            with pytest.raises(SourceError) as failed:
                await running
            reason = failed.value.message
        return got, reason
    finally:
        running.cancel()
        waiting.cancel()
        await asyncio.wait([running, waiting])
        pump.close()


def start(server: Server, vector: str, authority: str) -> str:
    """Have the server lead to an authority; returns the source's URL."""
    where = f"http://{authority}:{server.port}"
    first, next_ = VECTORS[vector](where)
    server.pages |= {"/index.m3u8": first or Answer(), "/next": next_ or Answer()}
    return f"{server.url}/index.m3u8" if first else f"{where}/list.m3u8"


@pytest.mark.parametrize("vector", VECTORS)
async def test_no_way_leads_to_an_address_that_is_refused(server: Server, vector: str) -> None:
    """However it is written; and the same way leads to the address beside it, which is permitted."""
    for name, spelling in SPELLINGS.items():
        pictures, reason = await take(start(server, vector, spelling(1)))
        assert pictures == 0, name
        assert "is not public; the setting network.allow can permit it" in reason, name
        assert server.canary == 0, name
    for name, spelling in SPELLINGS.items():
        pictures, reason = await take(start(server, vector, spelling(2)))
        assert pictures, (name, reason)


@cache
def dash() -> dict[str, bytes]:
    """Two seconds as DASH: the manifest ``index.mpd``, and what it names relative to itself."""
    with TemporaryDirectory() as folder:
        command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("plain")), "-t", "2", "-c", "copy"]
        subprocess.run([*command, "-f", "dash", "index.mpd"], check=True, cwd=folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def manifest(base: str) -> Answer:
    """The manifest, with another base of what it names."""
    return Answer(dash()["index.mpd"].replace(b"<Period", f"<BaseURL>{base}</BaseURL><Period".encode(), 1))


async def test_dash_leads_to_no_address_that_is_refused(server: Server) -> None:
    """What its manifest names is found beside it, at its server's root, elsewhere; each where it may be."""
    parts = {f"/live/{name}": Answer(data) for name, data in dash().items()}
    server.pages |= parts
    pictures, reason = await take(f"{server.url}/live/index.mpd?token=x", pictures=40)
    assert pictures >= 40, reason
    for spelling in SPELLINGS.values():
        server.pages["/index.mpd"] = manifest(f"http://{spelling(1)}:{server.port}/live/")
        pictures, reason = await take(f"{server.url}/index.mpd")
        assert (pictures, server.canary) == (0, 0)
        assert "network.allow" in reason
    for base in ("/live/", "live/", f"http://127.2:{server.port}/live/"):
        server.pages["/index.mpd"] = manifest(base)
        assert (await take(f"{server.url}/index.mpd"))[0], base
    for base in ("file:///etc/", "concat:/etc/passwd", f"tcp://{HERE}:1/", f"rtmp://{HERE}:1/a/"):
        server.pages["/index.mpd"] = manifest(base)
        pictures, reason = await take(f"{server.url}/index.mpd")
        assert (pictures, bool(reason)) == (0, True), base


async def test_audio_of_a_radio_station(server: Server) -> None:
    """As Icecast sends it: without an end, its titles left out because nobody asked for them."""
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("dark")), "-c:a", "mp3", "-f", "mp3", "-"]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    headers = ("Content-Type: audio/mpeg", "icy-name: Penstock FM", "icy-br: 128", "Server: Icecast 2.4.4")
    server.pages["/radio"] = Answer(sound, headers=headers, endless=True)
    sounds, reason = await take(f"{server.url}/radio", type_=AUDIO, pictures=100)
    assert sounds >= 100, reason


#: What a source may say that is no source: what is answered at /index.m3u8, and what the reason must hold.
HOSTILE: dict[str, tuple[Answer, str]] = {
    "a file": (playlist("file:///etc/passwd"), ""),
    "a bare path": (playlist("/etc/passwd"), ""),
    "several files": (playlist("concat:/etc/passwd|/etc/hosts"), ""),
    "part of a file": (playlist("subfile,,start,0,end,0,,:/etc/passwd"), ""),
    "a sealed file": (playlist("crypto:/etc/passwd"), ""),
    "data": (playlist(f"data:video/mp2t;base64,{b64encode(bytes(1880)).decode()}"), ""),
    "a pipe": (playlist("pipe:0"), ""),
    "bare TCP": (playlist(f"tcp://{HERE}:1/"), ""),
    "UDP": (playlist(f"udp://{HERE}:1/"), ""),
    "RTMP": (playlist(f"rtmp://{HERE}:1/a/b"), ""),
    "a list of files": (Answer(b"ffconcat version 1.0\nfile /etc/passwd\n"), ""),
    "a session description": (
        Answer(b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 1 RTP/AVP 96\n"),
        "",  # by the name of a playlist it is a bad one
    ),
    "a page": (Answer(b"<!DOCTYPE html><title>Welcome</title>" * 100), "Invalid data"),
    "nothing": (Answer(), "Invalid data"),
    "an empty playlist": (Answer(b"#EXTM3U\n"), ""),
    "a playlist of itself": (master("/index.m3u8"), ""),
    "a redirect to a file": (redirect("file:///etc/passwd"), ""),
    "a redirect to TCP": (redirect(f"tcp://{HERE}:1"), ""),
    "a redirect to nowhere": (redirect("http://[::1"), ""),
    "a redirect to itself": (redirect("/index.m3u8"), ""),
    "an error": (Answer(status="500 Internal Server Error"), "Server returned 5XX"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", ["/index.m3u8", "/live"])
async def test_what_is_no_source_is_contained(server: Server, name: str, path: str) -> None:
    """It ends soon, with a reason, and nothing of this machine is in it."""
    answer, said = HOSTILE[name]
    server.pages |= {"/index.m3u8": answer, "/live": answer}
    pictures, reason = await take(f"{server.url}{path}")
    assert pictures == 0
    assert reason
    assert said in reason
    assert "root:" not in reason
    assert len(server.heads) <= 40


async def test_session_description_is_refused_in_plain_words(server: Server) -> None:
    """RTP, whose packets would come from anywhere, is no source."""
    server.pages["/live.sdp"] = HOSTILE["a session description"][0]
    assert "a session description (SDP)" in (await take(f"{server.url}/live.sdp"))[1]


async def test_garbage_without_end_is_not_taken_for_long(server: Server) -> None:
    server.pages["/live"] = Answer(random.Random(1).randbytes(1 << 16), endless=True)
    pictures, reason = await take(f"{server.url}/live")
    assert pictures == 0
    assert "Invalid data" in reason
    assert server.sent < 64 << 20


async def test_source_that_never_answers_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "PATIENCE", 0.5)
    with socket.create_server((HERE, 0)) as silent:
        assert await take(f"http://{HERE}:{silent.getsockname()[1]}/live") == (0, "no media within 0.5 s")


# The proxy itself


def proof(passage: HttpProxy) -> str:
    """The header that a child of this passage sends."""
    token = b64encode(f"{urlsplit(passage.proxy).username}:".encode()).decode()
    return f"Proxy-Authorization: Basic {token}\r\n"


async def ask(passage: HttpProxy, request: str, *, token: bool = True) -> str:
    """Send a request's lines, with the child's token; return the answer."""
    parts = urlsplit(passage.proxy)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"{request}\r\n{proof(passage) if token else ''}\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


POLICY = Policy([ipaddress.ip_network(f"{HERE}/32")])


async def test_proxy_serves_its_child_alone(server: Server) -> None:
    async with HttpProxy(POLICY, server.url) as mine, HttpProxy(POLICY, server.url) as other:
        request = f"GET {server.url}/key HTTP/1.1"
        assert (await ask(mine, request)).endswith("\0" * 16)
        assert (await ask(mine, request, token=False)).startswith("HTTP/1.1 407 ")
        theirs = urlsplit(other.proxy).username or ""
        mine.proxy = mine.proxy.replace(urlsplit(mine.proxy).username or "", theirs)
        assert (await ask(mine, request)).startswith("HTTP/1.1 407 ")
    assert len(server.heads) == 1
    with pytest.raises(ConnectionRefusedError):
        await ask(mine, request)


async def test_origin_gets_a_request_of_its_own_kind(server: Server) -> None:
    """What is between the child and us does not go on."""
    async with HttpProxy(POLICY, server.url) as passage:
        request = f"GET http://u:p@{HERE}:{server.port}/key?a=b HTTP/1.1\r\nHost: other.example\r\nRange: bytes=0-"
        await ask(passage, f"{request}\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive")
    assert server.heads == [
        f"GET /key?a=b HTTP/1.1\r\nHost: {HERE}:{server.port}\r\nConnection: close\r\nRange: bytes=0-\r\n\r\n"
    ]


async def test_tunnel_leads_to_checked_addresses_only(server: Server) -> None:
    async with HttpProxy(POLICY, server.url) as passage:
        refused = await ask(passage, f"CONNECT 127.0.0.1:{server.port} HTTP/1.1")
        assert refused.startswith("HTTP/1.1 403 ")
        assert "network.allow" in passage.failure
        assert server.canary == 0
        parts = urlsplit(passage.proxy)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"CONNECT {HERE}:{server.port} HTTP/1.1\r\n{proof(passage)}\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        writer.write(b"GET /key HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(bytes(16))
        writer.close()


async def test_nobody_but_the_caller_sends_a_child_to_our_own_hub(server: Server) -> None:
    """Not by a redirect, nor by a playlist."""
    hub = ("localhost", "127.0.0.1", "hub.penstock")
    policy = Policy([ipaddress.ip_network(f"{HERE}/32")], hub_names=hub, hub_http=("127.0.0.1", server.port))
    for name in hub:
        url = f"http://{name}:{server.port}/key"
        async with HttpProxy(policy, server.url) as passage:
            assert (await ask(passage, f"GET {url} HTTP/1.1")).startswith("HTTP/1.1 403 ")
            assert passage.failure.startswith("redirected to this server itself")
        assert server.canary == 0
    async with HttpProxy(policy, url) as passage:
        await ask(passage, f"GET {url} HTTP/1.1")
    assert server.canary == 1


@pytest.mark.parametrize(
    "request_line",
    [
        *(
            "",
            "GET",
            "GET /",
            "GET / HTTP/1.1",
            "POST {} HTTP/1.1",
            "GET ftp://{} HTTP/1.1",
            "GET file:///etc/passwd HTTP/1.1",
        ),
        *("CONNECT [::1 HTTP/1.1", "CONNECT {}:x HTTP/1.1", "CONNECT HTTP/1.1", "GET http://[ HTTP/1.1", "\0 \0 \0"),
        *("GET {} HTTP/1.1\r\nX: " + "x" * 40000, "GET {} SPDY/3"),
    ],
)
async def test_proxy_refuses_anything_else(server: Server, request_line: str) -> None:
    async with HttpProxy(POLICY, server.url) as passage:
        answer = await ask(passage, request_line.format(server.url))
        assert answer.split(" ")[:2] in (["HTTP/1.1", "400"], ["HTTP/1.1", "502"])
    assert server.heads == []
