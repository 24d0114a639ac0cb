"""What encoders really send: every codec and layout, and clocks that pass the limits of 24, 31 and 32 bits."""

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import ServerFactory, until
from tests.media import clip, ffmpeg_exe
from tests.patience import PATIENCE

#: By stream name: the clip, where its clock begins (s), and the codecs that a viewer of the relayed stream finds.
SOURCES = {
    "plain": ("av", 0.0, ["h264", "aac"]),
    "hevc": ("hevc", 0.0, ["hevc", "aac"]),
    "av1-opus": ("av1-opus", 0.0, ["av1", "opus"]),
    "vp9": ("vp9", 0.0, ["vp9", "aac"]),
    "tracks": ("tracks", 0.0, ["h264", "h264", "aac", "aac"]),
    "video-only": ("silent", 0.0, ["h264", "aac"]),
    "audio-only": ("dark", 0.0, ["aac"]),
    "mono": ("mono", 0.0, ["h264", "aac"]),
    "24-bits": ("plain", 2**24 / 1000 - 6, ["h264", "aac"]),
    "31-bits": ("plain", 2**31 / 1000 - 6, ["h264", "aac"]),
    "32-bits": ("plain", 2**32 / 1000 - 6, ["h264", "aac"]),
}
#: All pictures and sounds: without it FFmpeg takes one of each.
TRACKS = ("-map", "0:v?", "-map", "0:a?")


@contextmanager
def publishing(url: str, name: str, start: float) -> Iterator[None]:
    """Publish a clip again and again, its clock beginning at `start` seconds."""
    command = [
        ffmpeg_exe(),
        "-nostdin",
        "-v",
        "error",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        str(clip(name)),
        *TRACKS,
        "-c",
        "copy",
    ]
    shifted = ["-output_ts_offset", str(start), "-f", "flv", url]
    with subprocess.Popen([*command, *shifted], stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def watched(url: str, path: Path) -> tuple[list[str], str]:
    """The codecs of what a viewer gets in 3 s, and all that decoding it brings up."""
    fetch = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", url, "-t", "3", *TRACKS, "-c", "copy", "-y", str(path)]
    subprocess.run(fetch, timeout=PATIENCE, check=True)
    look = [ffmpeg_exe(), "-nostdin", "-v", "info", "-i", str(path), "-f", "null", "-"]
    told = subprocess.run(look, capture_output=True, text=True, timeout=PATIENCE, check=True).stderr
    described = told.partition("Stream mapping")[0]
    codecs = re.findall(r"Stream #0:\d+.*?: (?:Video|Audio): (\w+)", described)
    decode = [ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(path), "-f", "null", "-"]
    return sorted(codecs, reverse=True), subprocess.run(decode, capture_output=True, text=True, check=True).stderr


def has_delivered(cloud: Cloud, task_id: str, seconds: int) -> bool:
    """Whether so much media has reached the destination."""
    pulled = cloud.describe(task_id).RecentPullInfo
    return pulled is not None and pulled.OffsetTime >= seconds


def test_every_format_is_relayed_and_decodes(penstock_server: ServerFactory, tmp_path: Path) -> None:
    """No decoder complains, every output has sound, and no clock stops a relay."""
    server = penstock_server(workers=1)
    keys = server.account()
    cloud = Cloud(server.http, keys["secret_id"], keys["secret_key"])
    with ExitStack() as publishers:
        tasks = {}
        for name, (source, start, _) in SOURCES.items():
            publishers.enter_context(publishing(f"{server.rtmp}/live/{name}", source, start))
            tasks[name] = cloud.create(f"{server.rtmp}/live/{name}", f"{server.rtmp}/relayed/{name}")
        for task_id in tasks.values():
            # Each has been relayed for longer than its clock had left.
            until(partial(has_delivered, cloud, task_id, 8))

        with ThreadPoolExecutor() as viewers:
            pages = [f"{server.media}/relayed/{name}.flv" for name in SOURCES]
            paths = [tmp_path / f"{name}.flv" for name in SOURCES]
            seen = dict(zip(SOURCES, viewers.map(watched, pages, paths), strict=True))

        assert seen == {name: (sorted(codecs, reverse=True), "") for name, (_, _, codecs) in SOURCES.items()}
        for name, task_id in tasks.items():
            assert (name, cloud.describe(task_id).ErrorInfo) == (name, "")
            events = [event["name"] for event in server.task(task_id)["events"]]
            assert (name, events.count("source.flowing"), events.count("sink.flowing")) == (name, 1, 1)
