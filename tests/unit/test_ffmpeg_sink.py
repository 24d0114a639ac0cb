"""Sinks by FFmpeg children: what a child is told, what it is given, and children that misbehave."""

import asyncio
import ipaddress
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import AddressRefused, SinkError
from penstock.media import ffmpeg_sink
from penstock.media.child import Children
from penstock.media.ffmpeg_sink import FfmpegSink, FlvFile, Progress
from penstock.media.meter import Meter
from penstock.media.packet import AUDIO, DATA, VIDEO, kind_of
from penstock.media.pump import Connection, Pump
from penstock.media.stream import Receiver, Stream
from penstock.net import Policy
from tests.packets import Clip

HERE = "127.0.0.2"
POLICY = Policy([ipaddress.ip_network(f"{HERE}/32")])


class Delivery:
    """A stream of half a second, again and again, for sinks to deliver."""

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self.stream = Stream(pump)
        self.connected = 0
        self._shift = 0

    async def feed(self) -> None:
        """Push media for as long as it is wanted."""
        while True:
            for message in Clip(seconds=0.5, gop=5).messages():
                time, payload = message.timestamp + self._shift, message.payload
                self.stream.push(message.type, time, payload, kind_of(message.type, payload))
            self._shift += 500
            self.pump.flush()
            await asyncio.sleep(0.02)

    async def to(self, program: Path | str, url: str = f"rtsp://{HERE}:1/live/a", *, seconds: float = 20) -> str:
        """Deliver by this program until that fails; return why."""
        sink = FfmpegSink(str(program), Children(), POLICY, self.pump, url)
        feeding = asyncio.create_task(self.feed())
        try:
            async with asyncio.timeout(seconds):
                with pytest.raises(SinkError) as failed:
                    await sink.run(self._connect, self.stream, Meter())
        finally:
            feeding.cancel()
        assert self.stream.receivers == []
        return failed.value.message

    def _connect(self, connection: Connection, receiver: Receiver) -> None:
        self.connected += 1


@pytest.fixture
async def delivery() -> AsyncIterator[Delivery]:
    pump = Pump(tick=0.01)
    yield Delivery(pump)
    pump.close()


def child(folder: Path, program: str) -> Path:
    """A program that stands for FFmpeg."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable} -IS\nimport os, sys, time\nout = sys.stdout\n{program}\n")
    path.chmod(0o755)
    return path


SENT = "print('out_time_us=1000', flush=True)"


@pytest.mark.parametrize(
    ("program", "said", "connected"),
    [
        ("sys.exit('first\\n[out#0/rtsp @ 0x5581] it is over')", "it is over", 0),
        ("time.sleep(600)", "the destination does not answer: no media has reached it for 1 s", 0),
        ("while os.read(0, 65536): pass", "the destination does not answer: no media has reached it for 1 s", 0),
        (f"{SENT}; time.sleep(600)", "the destination takes nothing any more: no media has reached it for 5 s", 1),
        (f"{SENT}\nwhile os.read(0, 65536): pass", "takes nothing any more", 1),
        (f"{SENT}; os.kill(os.getpid(), 9)", "it was ended by SIGKILL", 1),
        ("while True: os.write(2, b'noise\\n' * 10000)", "the destination does not answer", 0),
        ("while True: os.write(1, b'x' * 65536)", "the destination does not answer", 0),
        ("os.close(1); os.close(0); time.sleep(600)", "closed by the child", 0),
    ],
)
async def test_child_that_misbehaves_is_a_reason(
    delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str, connected: int
) -> None:
    """It ends, never reads, only reads, dies, talks without end: a sink that has to be connected anew."""
    monkeypatch.setattr(ffmpeg_sink, "PATIENCE", 5.0 if connected else 1.0)  # one that answers has time to start
    monkeypatch.setattr(ffmpeg_sink, "_LOOK_EVERY", 0.2)
    reason = await delivery.to(child(tmp_path, program))
    assert said in reason
    assert delivery.connected == connected


async def test_child_that_is_given_nothing_is_not_blamed(
    delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg_sink, "PATIENCE", 0.3)
    monkeypatch.setattr(ffmpeg_sink, "_LOOK_EVERY", 0.1)
    monkeypatch.setattr(delivery, "feed", asyncio.Event().wait)
    with pytest.raises(TimeoutError):
        await delivery.to(child(tmp_path, "time.sleep(600)"), seconds=1.5)


async def test_nothing_of_the_callers_stands_in_the_arguments(delivery: Delivery, tmp_path: Path) -> None:
    told = await delivery.to(child(tmp_path, "sys.exit(repr(sys.argv[-6:]))"), f"rtsp://u:hush@{HERE}:1/live/a;-y")
    assert "127.0.0.1" in told
    assert not any(word in told for word in ("hush", "live", HERE, "-y"))


async def test_refused_address_is_never_given_to_a_child(delivery: Delivery, tmp_path: Path) -> None:
    for url in ("srt://127.0.0.1:9000", "rtp://127.1:9000", "srt://[::ffff:7f00:1]:9000", "rtp://224.0.0.1:9000"):
        with pytest.raises(AddressRefused):
            await delivery.to(child(tmp_path, f"open('{tmp_path}/started', 'w')"), url)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"rtp://{HERE}:9000", ["-f", "rtp_mpegts", f"rtp://{HERE}:9000"]),
        (f"srt://{HERE}:9000", ["-connect_timeout", "3000", f"srt://{HERE}:9000"]),
        (f"srt://{HERE}:9000?passphrase=0123456789", ["0123456789", "-connect_timeout", "3000", f"srt://{HERE}:9000"]),
    ],
)
async def test_child_gets_the_checked_address(delivery: Delivery, tmp_path: Path, url: str, words: list[str]) -> None:
    assert await delivery.to(child(tmp_path, f"sys.exit(repr(sys.argv[-{len(words)}:]))"), url) == repr(words)


def test_file_begins_with_a_header_for_what_there_is() -> None:
    """Once, and with the kinds that the stream has then."""
    stream = Stream.__new__(Stream)
    stream.headers, stream._has_pictures = {AUDIO: b"\xaf\x00\x11\x90"}, False
    write = FlvFile(stream)
    first, second = write(DATA, 7, b"\x02\x00\x00"), write(AUDIO, 8, b"\xaf\x01x")
    assert first[:13] == b"FLV\x01\x04\x00\x00\x00\x09\x00\x00\x00\x00"
    assert (first[13], second[0]) == (DATA, AUDIO)
    stream.headers = {VIDEO: b"\x17\x00"}
    assert FlvFile(stream)(VIDEO, 0, b"\x17\x00")[4] == 1


@given(st.lists(st.integers(1, 40), min_size=1))
def test_progress_is_read_however_it_is_cut(cuts: list[int]) -> None:
    said = b"out_time_us=N/A\nprogress=continue\nout_time_us=0\nout_time_us=40\ntotal_size=1\nout_time_us=80\n"
    begun: list[bool] = []
    progress = Progress(lambda: begun.append(True))
    for cut in [*cuts, len(said)]:
        piece, said = said[:cut], said[cut:]
        progress.read(memoryview(piece), lambda _: None)
    assert (progress.out_time, begun) == (80, [True])


@given(st.lists(st.binary(max_size=200)))
def test_no_bytes_of_a_child_raise_anything(pieces: list[bytes]) -> None:
    progress = Progress(lambda: None)
    for piece in pieces:
        progress.read(memoryview(piece), lambda _: None)
    assert len(progress._rest) <= 4096
