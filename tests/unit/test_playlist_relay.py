"""A playlist under the engine, in real time: one connection, status that is true, and a run that goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from msgspec.structs import replace

from penstock.media.plan import Plan, Playlist, Sink
from penstock.tasks.model import Playback, State
from tests import rtmp_peer
from tests.file_server import FileServer
from tests.media import file
from tests.unit.stage import KEY, Stage, staged


class Channel:
    """A stage, the files that it plays, and where they go."""

    def __init__(self, stage: Stage, server: FileServer, sink: rtmp_peer.Sink) -> None:
        self.stage, self.server, self.sink = stage, server, sink

    def plan(self, *names: str, **changes: object) -> Plan:
        """Play these files."""
        playlist = Playlist(id="source", urls=tuple(map(self.server.url, names)))
        return Plan(sources=(replace(playlist, **changes),), sinks=(Sink(id="sink", url=self.sink.url),))

    @property
    def frames(self) -> list[int]:
        """DTS of what has arrived on the first connection."""
        return [frame.timestamp for frame in self.sink.connections[0].frames] if self.sink.connections else []

    @property
    def playback(self) -> Playback:
        """Where the playlist is."""
        playback = self.stage.seen.playback
        assert playback is not None
        return playback


@asynccontextmanager
async def channel(**files: Path) -> AsyncIterator[Channel]:
    """An engine, a server of these files, and a destination."""
    served = {f"/{name}.mp4": path for name, path in files.items()}
    async with FileServer(served) as server, staged() as stage:
        yield Channel(stage, server, await stage.sink())


async def test_a_channel_of_files_keeps_its_one_connection() -> None:
    """Files that differ, a missing one, a changed list, and rounds: the destination sees one stream.

    They are long enough for a busy machine to open the next one meanwhile.
    """
    async with channel(a=file("plain", seconds=4), b=file("small", seconds=4)) as it:
        it.stage.engine.run(KEY, 1, it.plan("/a.mp4", "/missing.mp4", "/b.mp4"))
        await it.stage.until(lambda: len(it.frames) > 110)
        it.stage.engine.run(KEY, 1, it.plan("/b.mp4"))
        await it.stage.until(lambda: it.playback.url.endswith("/b.mp4") and len(it.frames) > 250)
        assert it.stage.seen.state is State.ACTIVE
        assert it.stage.seen.error == ""
        assert it.stage.seen.on_air == "source"
        assert len(it.sink.connections) == 1
        assert max(later - sooner for sooner, later in pairwise(it.frames)) <= 240  # DTS, out of B-frames
        assert it.stage.names("alarm") == ["alarm.PullFileFailed"]
        assert it.stage.names("source.") == ["source.flowing"]


async def test_a_channel_whose_rounds_are_over_says_so_and_rests() -> None:
    """More rounds wake it."""
    async with channel(a=file("plain", seconds=1)) as it:
        it.stage.engine.run(KEY, 1, it.plan("/a.mp4", rounds=1))
        await it.stage.until(lambda: it.stage.seen.finished)
        assert it.stage.seen.error == ""
        assert it.playback.rounds == 1
        assert it.stage.names("source.")[-1] == "source.finished"
        it.stage.engine.run(KEY, 1, it.plan("/a.mp4", rounds=2))
        await it.stage.until(lambda: not it.stage.seen.finished)
        assert it.playback.rounds == 1
        await it.stage.until(lambda: it.stage.seen.finished)
        assert it.playback.rounds == 2


async def test_another_worker_goes_on_where_the_last_one_was() -> None:
    """Unless the list is another one by now, or the caller has named another place."""
    async with channel(a=file("plain"), b=file("av")) as it:
        plan = it.plan("/a.mp4", "/b.mp4")
        was = Playback(item=1, url=it.server.url("/b.mp4"), offset_ms=9300, duration_ms=20_000, rounds=4, next_url="")
        it.stage.engine.run(KEY, 1, plan, was)
        await it.stage.until(lambda: it.frames)
        assert (it.playback.item, it.playback.rounds, it.playback.moved) == (1, 4, 0)
        assert 8300 <= it.playback.offset_ms <= 10_300
        assert it.playback.next_url == it.server.url("/a.mp4")
        for other in (replace(was, url="http://elsewhere/b.mp4"), replace(was, item=7), replace(was, moved=1)):
            await it.stage.engine.stop(KEY)
            it.stage.engine.run(KEY, 2, plan, other)
            await it.stage.until(lambda: it.stage.seen.playback)
            assert (it.playback.item, it.playback.rounds) == (0, 0)


async def test_no_file_can_be_played() -> None:
    """ErrorInfo says which and why; it is tried again, ever less often, and goes on when there is something."""
    async with channel() as it:
        it.stage.engine.run(KEY, 1, it.plan("/a.mp4", "/b.mp4"))
        await it.stage.until(lambda: it.stage.names("source.failed"))
        assert "no file can be played: file 1 (" in it.stage.seen.error
        assert "404" in it.stage.seen.error
        assert "retry 1" in it.stage.seen.error
        it.server.files["/b.mp4"] = file("plain")
        await it.stage.until_active()
        assert it.playback.item == 1
