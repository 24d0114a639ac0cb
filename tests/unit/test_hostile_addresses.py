"""Children that leave HTTP: however an address is written, SRT, RTP and RTSP reach the permitted one and no other."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from penstock.errors import AddressRefused, MediaError
from penstock.media import direct
from penstock.media.child import Children
from penstock.media.direct import Direct
from penstock.media.ffmpeg import FfmpegSource
from penstock.media.pump import Pump
from penstock.media.rtsp import RtspRelay
from tests.http_peer import FORBIDDEN, HERE, Server
from tests.patience import PATIENCE
from tests.unit.test_http_children import POLICY, SPELLINGS
from tests.unit.test_rtsp import DESCRIBE, OK, camera, say

#: Those without a user, whom SRT and RTP do not know.
BARE = {name: spelling for name, spelling in SPELLINGS.items() if not name.startswith("with")}


@pytest.fixture
def listeners() -> Iterator[dict[str, socket.socket]]:
    """UDP sockets at the permitted address and at the refused one, at the same port."""
    while True:
        permitted, refused = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        permitted.bind((HERE, 0))
        with suppress(OSError):
            refused.bind((FORBIDDEN, permitted.getsockname()[1]))
            break
        permitted.close()
    for sock in (permitted, refused):
        sock.setblocking(False)
    with permitted, refused:
        yield {HERE: permitted, FORBIDDEN: refused}


async def call(url: str, heard: socket.socket) -> str:
    """Have a child call by SRT until somebody is heard there, or it fails: why it did."""
    pump = Pump(tick=0.04)
    source = FfmpegSource(get_ffmpeg_exe(), Children(), POLICY, pump, url)
    calling = asyncio.ensure_future(source.run(lambda _: None, lambda *_: None))
    hearing = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(heard, 1500))
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([calling, hearing], return_when=asyncio.FIRST_COMPLETED)
    reason = str(calling.exception()) if calling.done() else ""
    for task in (calling, hearing):
        task.cancel()
    await asyncio.wait([calling, hearing])
    pump.close()
    return reason


async def test_srt_reaches_the_permitted_address_alone(listeners: dict[str, socket.socket]) -> None:
    port = listeners[HERE].getsockname()[1]
    for name, spelling in BARE.items():
        reason = await call(f"srt://{spelling(1)}:{port}?streamid=x", listeners[FORBIDDEN])
        assert "the setting network.allow can permit it" in reason, name
    for name, spelling in BARE.items():
        assert await call(f"srt://{spelling(2)}:{port}?streamid=x", listeners[HERE]) == "", name
    with pytest.raises(BlockingIOError):
        listeners[FORBIDDEN].recv(1500)


@pytest.mark.parametrize("scheme", ["srt", "rtp"])
async def test_what_a_child_is_given_is_the_address_that_was_checked(scheme: str) -> None:
    """In its plainest form, whatever stood there."""
    for name, spelling in BARE.items():
        with pytest.raises(AddressRefused):
            async with Direct(POLICY, f"{scheme}://{spelling(1)}:9000"):
                pass
        async with Direct(POLICY, f"{scheme}://{spelling(2)}:9000") as way:
            assert way.url in (f"{scheme}://{HERE}:9000", f"{scheme}://[::ffff:{HERE}]:9000"), name
    for host in ("10.0.0.1", "169.254.169.254", "[::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "224.0.0.1", "0"):
        with pytest.raises(AddressRefused):
            async with Direct(POLICY, f"{scheme}://{host}:9000"):
                pass


async def test_name_that_does_not_resolve_is_a_reason() -> None:
    with pytest.raises(MediaError, match=r"cannot resolve nowhere\.invalid"):
        async with Direct(POLICY, "srt://nowhere.invalid:9000"):
            pass


@pytest.mark.parametrize("redirected", [False, True], ids=["source", "redirect"])
async def test_rtsp_reaches_the_permitted_address_alone(redirected: bool) -> None:
    """By its URL, and by a redirect."""
    for name, spelling in SPELLINGS.items():
        for last in (1, 2):
            async with Server() as canary, camera(OK, OK) as there:
                where = f"rtsp://{spelling(last)}:{there.port if last == 2 else canary.port}/a"
                if redirected:
                    there._answers.insert(0, f"RTSP/1.0 302 Found\r\nLocation: {where}")
                async with RtspRelay(POLICY, f"{there.url}/a" if redirected else where) as relay:
                    answer = await say(relay, DESCRIBE)
                assert canary.canary == 0, name
                if last == 1:
                    assert (answer, "network.allow" in relay.failure) == ("", True), name
                else:
                    assert answer.startswith("RTSP/1.0 200 OK"), (name, relay.failure)


async def test_resolver_that_never_answers_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(direct, "_RESOLVER", 0.05)
    monkeypatch.setattr(POLICY, "resolve", hang)
    with pytest.raises(MediaError, match=r"cannot resolve slow within 0\.05 s"):
        async with Direct(POLICY, "srt://slow:9000"):
            pass
