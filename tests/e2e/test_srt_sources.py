"""SRT sources: FFmpeg as the peer that is called, a task made through the official SDK, decoded pictures."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, until
from tests.e2e.test_ffmpeg_sinks import LATENCY
from tests.e2e.test_http_sources import assert_every_picture, children, server
from tests.media import clip, ffmpeg_exe, free_udp_port
from tests.rtmp_peer import SinkThread

__all__ = ["server"]

PASSPHRASE = "a secret phrase"
ESCAPED = "a%20secret+phrase"


@contextmanager
def encoder() -> Iterator[int]:
    """Plays the clip `av` to one caller who knows the passphrase; yields its port."""
    port = free_udp_port()
    command = [
        ffmpeg_exe(),
        "-nostdin",
        "-v",
        "error",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        str(clip("av")),
        "-c",
        "copy",
    ]
    command += ["-f", "mpegts", "-passphrase", PASSPHRASE, f"srt://127.0.0.1:{port}?mode=listener"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        try:
            yield port
        finally:
            running.kill()


def arguments(server: PenstockServer) -> bytes:
    """What everybody on this machine may see of the only child."""
    [child] = until(lambda: children(server))
    return Path(f"/proc/{child}/cmdline").read_bytes()


def test_encrypted_stream_by_its_name(cloud: Cloud, server: PenstockServer, sink: SinkThread, tmp_path: Path) -> None:
    with encoder() as port:
        url = f"srt://127.0.0.1:{port}?mode=caller&streamid=#!::r=live/s1,m=request&passphrase={ESCAPED}&latency={LATENCY}"
        task_id = assert_every_picture(cloud, url, sink, tmp_path, pictures=275)
        seen = arguments(server)
        assert PASSPHRASE.encode() not in seen
        assert b"live/s1" not in seen
        assert f"-latency\0{LATENCY * 1000}\0".encode() in seen
        shown = server.command("task", "show", task_id).stdout
        assert "SRT is spoken by FFmpeg" in shown
        assert "live/s1" not in shown


def test_peer_that_cannot_be_had_says_why(cloud: Cloud, server: PenstockServer, sink: SinkThread) -> None:
    """A wrong passphrase, none, nobody there, an address where nobody may go."""
    with encoder() as port, encoder() as other:
        said = {
            f"srt://127.0.0.1:{port}?passphrase=another+phrase": "the SRT peer refuses: incorrect passphrase",
            f"srt://127.0.0.1:{other}?streamid=hush": "the SRT peer refuses: password required or unexpected",
            f"srt://127.0.0.1:{free_udp_port()}?streamid=hush": "nobody answers by SRT at this address and port (UDP)",
        }
        tasks = {cloud.create(url, f"{sink.url}{number}"): words for number, (url, words) in enumerate(said.items())}
        for task_id, words in tasks.items():
            until(lambda: words in cloud.describe(task_id).ErrorInfo, what=words)  # noqa: B023 - called at once
            assert "hush" not in cloud.describe(task_id).ErrorInfo
            cloud.delete(task_id)
    assert sink.connections == []


def test_secrets_are_concealed_from_the_first_call_on(cloud: Cloud, server: PenstockServer, sink: SinkThread) -> None:
    """Also while nobody answers."""
    cloud.create(f"srt://127.0.0.1:{free_udp_port()}?streamid=hush&passphrase={ESCAPED}", sink.url)
    until(lambda: b"-srt_streamid\x00****\x00-passphrase\x00***************\x00" in arguments(server))
