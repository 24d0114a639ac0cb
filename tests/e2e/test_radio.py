"""Radio: MP3 and AAC over HTTP as Icecast and SHOUTcast send it. Tasks by the official SDK, decoded sound."""

import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.avmeter import measure
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import until
from tests.e2e.test_http_sources import server
from tests.e2e.test_relay import flv_of, well
from tests.media import clip, ffmpeg_exe
from tests.rtmp_peer import SinkThread
from tests.rtmp_wire import AUDIO

__all__ = ["server"]

#: Bits per second; bytes between two blocks of titles; bytes that a listener is given at once.
RATE, INTERVAL, BURST = 96_000, 4096, 32_768
#: Messages of sound that are waited for: seven seconds.
SOUNDS = 300
#: How FLV calls its codecs (Adobe FLV 10.1, E.4.2.1).
MP3, AAC = 2, 10
#: Bytes of a listener's request, at most.
MAX_HEAD = 65536


@cache
def sound(form: str) -> bytes:
    """The sound of the clip `av` as a radio station has it."""
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("av")), "-vn", "-b:a", str(RATE), "-ar", "44100"]
    return subprocess.run([*command, "-f", form, "-"], check=True, capture_output=True).stdout


class Listener(socketserver.StreamRequestHandler):
    """One who listens: at ``/shoutcast`` to MP3 under SHOUTcast's status line, at ``/icecast`` to AAC under HTTP's."""

    server: "Station"

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n") and len(head) < MAX_HEAD:
            head += self.rfile.readline()
        old = b"/shoutcast" in head
        titles = b"icy-metadata: 1" in head.lower()
        self.server.asked.append(titles)
        lines = ["ICY 200 OK" if old else "HTTP/1.0 200 OK", f"content-type: audio/{'mpeg' if old else 'aac'}"]
        lines += ["icy-name: Penstock FM", "icy-br: 96", *([f"icy-metaint: {INTERVAL}"] if titles else []), "", ""]
        data = sound("mp3" if old else "adts")
        if titles:
            data = b"".join(data[at : at + INTERVAL] + title(at) for at in range(0, len(data), INTERVAL))
        try:
            self.wfile.write("\r\n".join(lines).encode() + data[:BURST])
            for at in range(BURST, len(data), RATE // 80):
                time.sleep(0.1)
                self.wfile.write(data[at : at + RATE // 80])
        except OSError:
            pass  # nobody listens any more


def title(at: int) -> bytes:
    """A block of metadata: its length in 16 bytes, then the title, which changes now and then."""
    if at % (4 * INTERVAL):
        return b"\0"
    said = f"StreamTitle='Song {at}';".encode()
    blocks = -(-len(said) // 16)
    return bytes([blocks]) + said.ljust(16 * blocks, b"\0")


class Station(socketserver.ThreadingTCPServer):
    """A radio station on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Listener)
        #: Of each listener, whether it wants to be told the titles.
        self.asked: list[bool] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def station() -> Iterator[Station]:
    """On air while the test runs."""
    with Station() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


@pytest.mark.parametrize(("path", "codec"), [("/shoutcast", MP3), ("/icecast", AAC)])
def test_radio_is_heard_without_a_hole(
    cloud: Cloud, station: Station, sink: SinkThread, tmp_path: Path, path: str, codec: int
) -> None:
    """Whatever the station says of its songs in between is no sound."""
    task_id = cloud.create(f"{station.url}{path}", sink.url)
    sink.until(lambda: sink.connections and len(sink.connections[0].media(AUDIO)) >= SOUNDS)
    until(lambda: well(cloud, task_id), what="Describe says that it delivers")
    [connection] = sink.connections
    # The station's own end may have come by now.
    messages = connection.media(AUDIO)[:SOUNDS]
    record = tmp_path / "radio.flv"
    record.write_bytes(flv_of(messages))
    heard = measure(record)
    assert heard.errors == []
    assert heard.sound_gap <= 5
    assert len(heard.beeps) >= 5
    # A listener may come in the middle of the first.
    assert all(abs(later - sooner - 1) < 0.03 for sooner, later in pairwise(heard.beeps[1:])), heard.beeps
    assert station.asked[-1]
    assert {message.payload[0] >> 4 for message in messages} == {codec}


@pytest.mark.parametrize(
    "url", ["rtp://127.0.0.1:5004", "http://127.0.0.1:8000/live.sdp?key=hush", "sdp://127.0.0.1/live"]
)
def test_rtp_and_its_descriptions_are_refused_in_plain_words(cloud: Cloud, url: str) -> None:
    """Where the task is made, not only when it runs."""
    with pytest.raises(TencentCloudSDKException) as refused:
        cloud.create(url, "rtmp://127.0.0.1/live/radio")
    assert refused.value.get_code() == "InvalidParameter.InvalidSourceUrl"
    assert "RTP and its session descriptions (SDP) are no source" in refused.value.get_message()
    assert "hush" not in refused.value.get_message()
