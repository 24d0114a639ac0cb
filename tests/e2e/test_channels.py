"""Channels from files: made through the official SDK, served by a real nginx, judged by what arrives."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, until
from tests.e2e.nginx import Nginx
from tests.e2e.test_relay import assert_rising, decoded, destination, publishing
from tests.media import clip, counters, ffmpeg_exe
from tests.rtmp_peer import Connection, SinkThread

pytestmark = pytest.mark.xdist_group("channels")

FILES, NOW, AFTER = "PullVodPushLive", "ImmediateNewSource", "ContinueBreakPoint"
#: Files by name: where they begin in the clip `av` (seconds), so that each picture tells which file it is of.
BEGINS = {"a.mp4": 0, "b.ts": 4, "c.m3u8": 8, "d.flv": 12, "e.mp4": 16}
#: How long each is, in seconds, and how many pictures a second has.
LONG, FPS = 3, 25
#: So many pictures, to a keyframe, may go by until a destination on a busy machine has agreed.
JOINING = 2 * FPS


@pytest.fixture(scope="module")
def www(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of different containers."""
    folder = tmp_path_factory.mktemp("www")
    folder.parent.chmod(0o755)
    outputs: list[str] = []
    for name, begin in BEGINS.items():
        codec = ["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-sc_threshold", "0", "-c:a", "aac"]
        outputs += ["-ss", str(begin), "-t", str(LONG), *codec, str(folder / name)]
    subprocess.run([ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(clip("av")), *outputs], check=True)
    (folder / "page.mp4").write_text("<html>Not found</html>")
    return folder


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, www: Path) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), http=f"location /files/ {{ alias {www}/; }}") as running:
        yield running


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, data_with_account: tuple[Path, Mapping[str, Any]]
) -> Iterator[PenstockServer]:
    """A Penstock with two workers that may reach loopback, for all tests here."""
    template, account = data_with_account
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(template, folder / "data")
    running = PenstockServer(folder, account)
    try:
        yield running.start()
        print(running.log)
    finally:
        running.clean_up()


class Channel:
    """A channel on the air."""

    def __init__(self, cloud: Cloud, nginx: Nginx, sink: SinkThread, names: Sequence[str], **values: Any) -> None:
        self.names, self._cloud, self._nginx = names, cloud, nginx
        self.id = cloud.create("", destination(sink), SourceType=FILES, SourceUrls=self.urls(names), **values)

    def urls(self, names: Sequence[str]) -> list[str]:
        return [f"{self._nginx.http_url}/files/{name}?key=hush" for name in names]

    def modify(self, names: Sequence[str] | None = None, **values: Any) -> None:
        self._cloud.modify(self.id, **({"SourceUrls": self.urls(names)} if names else {}), **values)

    @property
    def status(self) -> dict[str, Any]:
        """TaskStatusInfo."""
        return self._cloud.status(self.id)

    @property
    def recent(self) -> tuple[str, int, int]:
        """What RecentPullInfo says: file, offset, rounds."""
        recent = self._cloud.describe(self.id).RecentPullInfo
        return named(recent.FileUrl), recent.OffsetTime, recent.LoopedTimes

    def until_on(self, name: str) -> None:
        """Wait for this file to be on the air."""
        until(lambda: named(self.status["FileUrl"]) == name)

    def place(self, number: int) -> int:
        """How many pictures of the list stand before the one with this counter."""
        name = next(name for name, begin in reversed(BEGINS.items()) if number >= begin * FPS)
        return self.names.index(name) * LONG * FPS + number - BEGINS[name] * FPS

    def apart(self, before: int, after: int) -> int:
        """How many pictures lie between two places, the shorter way round."""
        ahead = (after - before) % (len(self.names) * LONG * FPS)
        return min(ahead, len(self.names) * LONG * FPS - ahead)


NewChannel = Callable[..., Channel]


@pytest.fixture
def channel(cloud: Cloud, nginx: Nginx, sink: SinkThread) -> Iterator[NewChannel]:
    """Makes channels of files by their names, with more for Create; they are deleted with the test."""
    made: list[Channel] = []

    def make(*names: str, **values: Any) -> Channel:
        made.append(Channel(cloud, nginx, sink, names, **values))
        return made[-1]

    yield make
    for one in made:
        cloud.delete(one.id)


def named(url: str) -> str:
    """The name of a file."""
    return url.partition("?")[0].rpartition("/")[2]


def pictures(connection: Connection, folder: Path) -> list[int]:
    """The counters of all pictures that have arrived on a connection whose times rise."""
    assert_rising(connection)
    return decoded(connection, folder / "out.flv")


def files_of(numbers: Sequence[int]) -> list[str]:
    """The files that these pictures are of, as they follow one another."""
    names = [next(name for name, begin in reversed(BEGINS.items()) if number >= begin * FPS) for number in numbers]
    return [name for name, _ in groupby(names)]


def test_a_channel_plays_every_picture_of_all_its_files_for_as_many_rounds_as_asked(
    server: PenstockServer, channel: NewChannel, sink: SinkThread, www: Path, tmp_path: Path
) -> None:
    """MP4, MPEG-TS, HLS and FLV, twice, on one connection; what is said of it is true all the while and afterwards."""
    names = ["a.mp4", "b.ts", "c.m3u8", "d.flv"]
    running = channel(*names, VodLoopTimes="2")
    connection = publishing(sink)
    said: dict[str, str] = {}
    while not connection.unpublished:
        before, status, arrived = len(connection.frames), running.status, len(connection.frames)
        if status["RunStatus"] == "active" and status["FileUrl"]:
            assert status["FileUrl"].endswith("?key=hush")
            name, at = named(status["FileUrl"]), status["OffsetTime"]
            said[name] = named(status["NextFileUrl"])
            assert status["FileDuration"] == LONG
            place = (status["LoopedTimes"] * len(names) + names.index(name)) * LONG + at
            # Reports come each second, and sinks are fed in ticks.
            assert before / FPS - 3 <= place <= arrived / FPS + 3, status
        time.sleep(0.2)

    once = [number for name in names for number in counters(www / name)]
    shown = pictures(connection, tmp_path)
    assert shown == (once * 2)[:-3][-len(shown) :]
    assert len(shown) >= len(once) * 2 - JOINING - 3
    assert said == {"a.mp4": "b.ts", "b.ts": "c.m3u8", "c.m3u8": "d.flv", "d.flv": ""}
    assert len(sink.connections) == 1
    until(lambda: server.task(running.id)["state"] == "ended")
    assert running.recent == ("", 0, 2)
    assert (running.status["RunStatus"], running.status["LoopedTimes"]) == ("inactive", -1)
    events = [event["name"] for event in server.task(running.id)["events"]]
    assert (events.count("file.started"), events.count("file.finished"), events[-1]) == (8, 8, "task.ended")


def test_another_place_and_other_files_are_taken_up_at_once_or_after_the_current_file(
    channel: NewChannel, sink: SinkThread, tmp_path: Path
) -> None:
    """All on one connection."""
    running = channel("a.mp4", "b.ts", FileIndex=2, OffsetTime=1, VodRefreshType=NOW)
    connection = publishing(sink, frames=1)
    running.modify(FileIndex=1, OffsetTime=2)
    running.until_on("a.mp4")
    arrived = len(connection.frames)
    sink.until(lambda: len(connection.frames) >= arrived + FPS)
    running.modify(["d.flv"])
    running.until_on("d.flv")
    running.modify(["c.m3u8"], VodRefreshType=AFTER)
    until(lambda: named(running.status["NextFileUrl"]) == "c.m3u8")
    running.until_on("c.m3u8")
    until(lambda: running.recent[2] >= 1)

    numbers = pictures(connection, tmp_path)
    assert numbers[0] >= (BEGINS["b.ts"] + 1) * FPS
    begun = [after for before, after in pairwise(numbers) if after != before + 1]
    # The keyframe at 2 s, or the one before.
    assert any(FPS <= number <= 2 * FPS for number in begun), (begun, numbers)
    assert {"b.ts", "a.mp4", "d.flv", "c.m3u8"} == set(files_of(numbers))
    ends_of_d = [number for number, after in pairwise(numbers) if files_of([number, after]) == ["d.flv", "c.m3u8"]]
    assert all(number >= (BEGINS["d.flv"] + LONG) * FPS - 2 for number in ends_of_d)
    assert len(sink.connections) == 1


def test_a_channel_goes_on_where_it_was_when_its_worker_dies(
    server: PenstockServer, channel: NewChannel, sink: SinkThread, tmp_path: Path
) -> None:
    """At most 3 s from there, in whichever file that is; nor does an API that is killed tell of another place."""
    running = channel("a.mp4", "e.mp4", "d.flv")
    first = publishing(sink)
    until(lambda: running.recent[2] == 1)
    server.until_replaced(server.kill("api"))
    rounds = until(lambda: running.recent[2])
    running.until_on("e.mp4")  # so the store knows of the round, too: a worker tells it of its place every 2 s
    server.kill_owner(server.task(running.id))
    assert running.recent[2] >= rounds
    second = publishing(sink, 2)

    before, after = running.place(pictures(first, tmp_path)[-1]), running.place(pictures(second, tmp_path)[0])
    assert running.apart(before, after) <= 3 * FPS, (before, after)
    until(lambda: running.recent[2] > rounds)


def test_a_bad_file_is_passed_over_and_told(
    server: PenstockServer, channel: NewChannel, sink: SinkThread, tmp_path: Path
) -> None:
    """A page that says it is an MP4, and one that is not there, between good ones."""
    running = channel("a.mp4", "page.mp4", "gone.mp4", "e.mp4", VodLoopTimes="1")
    connection = publishing(sink)
    sink.until(lambda: connection.unpublished)

    assert files_of(pictures(connection, tmp_path)) == ["a.mp4", "e.mp4"]
    alarms = [event["text"] for event in server.task(running.id)["events"] if event["name"] == "alarm.PullFileFailed"]
    assert ["page.mp4" in alarms[0], "gone.mp4" in alarms[1]] == [True, True]
    assert not any("hush" in alarm for alarm in alarms)


@pytest.mark.parametrize("how", ["restarted to start over", "restarted to go on", "paused"])
def test_a_channel_that_was_stopped_starts_over_or_goes_on(
    cloud: Cloud, channel: NewChannel, sink: SinkThread, tmp_path: Path, how: str
) -> None:
    """Restart does as VodRefreshType says; a pause goes on."""
    refresh_type = AFTER if how == "restarted to go on" else NOW
    running = channel("a.mp4", "e.mp4", "d.flv", VodRefreshType=refresh_type)
    first = publishing(sink)
    running.until_on("e.mp4")
    if how == "paused":
        running.modify(Status="pause")
        sink.until(lambda: first.unpublished)
        until(lambda: not running.recent[0])
        running.modify(Status="enable")
    else:
        cloud.call("RestartLivePullStreamTask", TaskId=running.id, Operator="night")
    second = publishing(sink, 2)

    assert first.unpublished
    before, after = running.place(pictures(first, tmp_path)[-1]), running.place(pictures(second, tmp_path)[0])
    if how == "restarted to start over":
        assert after <= JOINING
    else:
        assert running.apart(before, after) <= JOINING, (before, after)


def test_a_channel_is_created_and_watched_at_the_command_line(
    server: PenstockServer, nginx: Nginx, sink: SinkThread
) -> None:
    """A line a second where there is no terminal, until it has ended."""
    urls = [f"{nginx.http_url}/files/{name}?key=hush" for name in ("a.mp4", "d.flv")]
    made = server.command("task", "create", "--files", *urls, "--to", destination(sink), "--loops", "2")
    publishing(sink)
    watched = server.command("task", "watch", made.stdout.strip()).stdout

    *lines, last = [line.split("  ", 1)[1] for line in watched.splitlines()]
    where = re.compile(
        r"active, file [12] of 2, 0:0[0-3] of 0:03, round [12] of 2: http://\S+\?key=\*\*\*,.* on air source"
    )
    assert any(map(where.match, lines)), lines
    assert last.startswith("ended, file 2 rounds played")
    assert "hush" not in watched
    named = server.command(
        "task", "create", "--id", "news", "--start", "1h", urls[0], "--to", sink.url, "--json"
    ).stdout
    assert json.loads(named) == {"id": "news"}
    assert server.command("task", "create", *urls, "--to", sink.url, check=False).returncode == 2
