"""Destinations that FFmpeg children deliver to: SRT, RTP, RTSP. Tasks by the official SDK, decoded pictures."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.avmeter import measure
from tests.e2e import test_relay
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, until
from tests.e2e.running import is_running, until_gone
from tests.e2e.test_http_sources import children, server, told
from tests.e2e.test_rtsp_sources import PASSWORD, rtsp_server
from tests.media import COUNTER_BYTES, COUNTER_PICTURES, clip, counters, ffmpeg_exe, free_udp_port, read_counter
from tests.patience import PATIENCE
from tests.rtmp_peer import OriginThread

__all__ = ["server"]

#: Bytes of the clip `av` that are waited for: some six seconds.
ENOUGH = 250_000


#: How long SRT waits for what is late, in ms, before it goes on without: longer than a busy machine holds it up.
LATENCY = 2000


@contextmanager
def recorder(path: Path, *source: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Keeps what it receives as MPEG-TS, until it ends or the block does; what it says is in ``….log``."""
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", *source, "-c", "copy", "-flush_packets", "1", "-y", str(path)]
    with path.with_suffix(".log").open("wb") as log, subprocess.Popen(command, stderr=log) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def watched(url: str, path: Path) -> Iterator[Callable[[], list[tuple[str, int | None]]]]:
    """Somebody who watches by RTSP: yields what tells size and counter of each picture that was decoded so far."""
    select, picture, *form = COUNTER_PICTURES
    command = [
        ffmpeg_exe(),
        "-nostdin",
        "-nostats",
        "-rtsp_transport",
        "tcp",
        "-i",
        url,
        "-an",
        "-fps_mode",
        "passthrough",
    ]
    command += ["-fps_mode", "passthrough", select, f"showinfo,{picture}", *form, "-flush_packets", "1", str(path)]
    said = path.with_suffix(".log")

    def seen() -> list[tuple[str, int | None]]:
        pictures = path.read_bytes() if path.exists() else b""
        whole = range(0, len(pictures) - COUNTER_BYTES + 1, COUNTER_BYTES)
        numbers = [read_counter(pictures[at : at + COUNTER_BYTES]) for at in whole]
        return list(zip(re.findall(r"showinfo.* s:(\d+x\d+) ", said.read_text()), numbers, strict=False))

    with said.open("wb") as log, subprocess.Popen(command, stderr=log) as running:
        try:
            yield seen
        finally:
            running.kill()


def srt_listener(port: int, *options: str) -> list[str]:
    """A recorder's source: whoever calls by SRT."""
    return [*options, "-i", f"srt://127.0.0.1:{port}?mode=listener"]


def delivers(cloud: Cloud, task_id: str) -> bool:
    """Whether the destination takes media, and nothing is wrong."""
    return test_relay.well(cloud, task_id) and cloud.run_status(task_id) == "active"


def until_recorded(path: Path, size: int = ENOUGH) -> None:
    """Wait for so many bytes."""
    until(lambda: path.exists() and path.stat().st_size >= size, what=f"{path.name} grows")


def assert_whole(path: Path) -> None:
    """Every picture is there, from the first to the last, and in the end sound is in step."""
    numbers = counters(path)
    # What was cut off may end in the middle of a group.
    shown = [number for number in numbers if number is not None][:-3]
    assert len(shown) >= 100
    test_relay.assert_complete(shown)
    reading = measure(path)
    assert len(reading.offsets) >= 3
    assert max(map(abs, reading.offsets[-3:])) <= 45, reading


def test_srt_destination_with_a_passphrase(
    cloud: Cloud, server: PenstockServer, origin: OriginThread, tmp_path: Path
) -> None:
    """Describe counts what the child took; a Delete ends the connection, and the child."""
    port, record = free_udp_port(), tmp_path / "srt.ts"
    with recorder(record, *srt_listener(port, "-passphrase", "0123456789")) as receiver:
        url = f"srt://127.0.0.1:{port}?streamid=#!::r=live/s1,m=publish&passphrase=0123456789&latency={LATENCY}"
        task_id = cloud.create(origin.url, url)
        until_recorded(record)
        until(lambda: delivers(cloud, task_id))
        assert cloud.run_status(task_id) == "active"
        [child] = children(server)
        seen = Path(f"/proc/{child}/cmdline").read_bytes()
        assert b"0123456789" not in seen
        assert b"live/s1" not in seen
        shown = server.task(task_id)
        assert shown["children"] == ["sink: SRT is spoken by FFmpeg"]
        assert shown["sinks"][0]["bytes"] > ENOUGH / 2
        cloud.delete(task_id)
        receiver.wait(PATIENCE)
        until(lambda: not is_running(child), what="the child is gone")
    assert_whole(record)


def test_rtp_destination(cloud: Cloud, origin: OriginThread, tmp_path: Path) -> None:
    """MPEG-TS over RTP: a receiver needs no description."""
    port, record = free_udp_port(), tmp_path / "rtp.ts"
    with recorder(record, "-i", f"rtp://127.0.0.1:{port}"):
        task_id = cloud.create(origin.url, f"rtp://127.0.0.1:{port}")
        until_recorded(record)
        until(lambda: delivers(cloud, task_id))
    assert_whole(record)


def test_rtsp_destination(cloud: Cloud, origin: OriginThread, tmp_path: Path) -> None:
    """A real server takes what we publish, and plays it; after five seconds it says how its clocks belong together."""
    record = tmp_path / "rtsp.ts"
    with rtsp_server() as port:
        task_id = cloud.create(origin.url, f"rtsp://127.0.0.1:{port}/copy")
        until(lambda: delivers(cloud, task_id))
        viewer = f"rtsp://viewer:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/copy"
        with recorder(record, "-rtsp_transport", "tcp", "-i", viewer):
            until_recorded(record, 2 * ENOUGH)
    assert_whole(record)


def test_rtsp_viewer_sees_on_when_the_size_changes(
    cloud: Cloud, server: PenstockServer, origin: OriginThread, tmp_path: Path
) -> None:
    """Its description is that of the first size; what follows says its own."""
    with rtsp_server() as port, OriginThread(clip("small")) as other:
        task_id = cloud.create(origin.url, f"rtsp://127.0.0.1:{port}/copy")
        until(lambda: delivers(cloud, task_id))
        viewer = f"rtsp://viewer:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/copy"
        with watched(viewer, tmp_path / "seen") as seen:
            until(lambda: len(seen()) >= 50, what="the viewer sees the first size")
            cloud.modify(task_id, SourceUrls=[other.url])
            until(lambda: [size for size, _ in seen()].count("320x180") >= 100, what="the viewer sees the second size")
        assert [sink["attempts"] for sink in server.task(task_id)["sinks"]] == [1]
        pictures = seen()
    assert {size for size, _ in pictures} == {"640x360", "320x180"}
    assert None not in [number for _, number in pictures]
    first, *numbers = [number or 0 for size, number in pictures if size == "320x180"]
    assert numbers == [(first + at) % 180 for at in range(1, len(numbers) + 1)]


def test_destination_that_cannot_be_had_says_why(cloud: Cloud, origin: OriginThread, tmp_path: Path) -> None:
    """Nobody there, and a wrong passphrase."""
    port, deaf, closed = free_udp_port(), free_udp_port(), free_udp_port()
    with recorder(tmp_path / "x.ts", *srt_listener(port, "-passphrase", "0123456789")):
        said = {
            f"srt://127.0.0.1:{port}?passphrase=hush-hush-hush": "the SRT peer refuses: incorrect passphrase",
            f"srt://127.0.0.1:{deaf}?streamid=hush": "nobody answers by SRT at this address and port (UDP)",
            f"rtsp://viewer:hush@127.0.0.1:{closed}/live/x": "sink: connection refused",
        }
        tasks = {cloud.create(origin.url, url): words for url, words in said.items()}
        for task_id, words in tasks.items():
            until(lambda: words in cloud.describe(task_id).ErrorInfo, what=words)  # noqa: B023 - called at once
            assert "hush" not in cloud.describe(task_id).ErrorInfo
            assert cloud.run_status(task_id) == "inactive"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "it was ended by SIGKILL"),
        (signal.SIGSTOP, "the destination takes nothing any more: no media has reached it for 10 s"),
    ],
)
def test_child_that_dies_or_stands_still_is_replaced(
    cloud: Cloud, server: PenstockServer, origin: OriginThread, tmp_path: Path, number: int, said: str
) -> None:
    """And the death of the worker is that of its child."""
    port = free_udp_port()
    record = tmp_path / "rtp.ts"
    with recorder(record, "-i", f"rtp://127.0.0.1:{port}"):
        task_id = cloud.create(origin.url, f"rtp://127.0.0.1:{port}")
        until(lambda: delivers(cloud, task_id))
        [child] = children(server)
        os.kill(child, number)
        if number == signal.SIGSTOP:
            until(lambda: cloud.run_status(task_id) == "inactive", what="Describe says that nothing moves")
        until(lambda: not is_running(child), what="the child is gone")
        until(lambda: delivers(cloud, task_id))
        until(lambda: told(server, task_id, "sink.lost", said), what="the history says why")
        [child] = children(server)
        server.kill("worker")
        until_gone([child])
