"""A file that stands in for a live source, under the engine, in real time."""

import asyncio
from itertools import pairwise

from penstock.media.plan import Plan, Playlist, Sink, Source
from tests.file_server import FileServer
from tests.media import clip, file
from tests.rtmp_peer import Origin
from tests.unit.stage import KEY, in_order, staged


async def test_a_file_stands_in_until_it_has_been_played() -> None:
    """It is not touched before it is needed, and left at the end of a round once the source is back."""
    async with FileServer({"/slate.mp4": file("av", seconds=8)}) as server, staged() as stage:
        origin, sink = await stage.origin(clip("plain")), await stage.sink()
        stage.engine.run(
            KEY,
            1,
            Plan(
                sources=(
                    Source(id="source", url=origin.url),
                    Playlist(id="backup", urls=(server.url("/slate.mp4"),)),
                ),
                sinks=(Sink(id="sink", url=sink.url),),
            ),
        )
        await stage.until_active()
        await asyncio.sleep(2)
        assert server.requests == []
        assert [node.state for node in stage.seen.sources] == ["flowing", "idle"]

        origin.end()
        await stage.until(lambda: stage.seen.on_air == "backup")
        assert "source: " in stage.seen.error
        await asyncio.sleep(1)
        origin.resume()
        await stage.until(lambda: stage.has_flowed(2))
        await asyncio.sleep(0.3)
        assert stage.seen.on_air == "backup"
        assert stage.seen.error.endswith("on air when the file has been played")
        await stage.until(lambda: stage.seen.on_air == "source")
        names = stage.names()
        assert "file.finished" in names[names.index("switch.closed") : names.index("switch.returned")]
        await stage.until(lambda: stage.seen.sources[1].state == "idle")

        assert stage.seen.error == ""
        assert stage.names("switch.") == ["switch.closed", "switch.returned"]
        assert len(sink.connections) == 1
        assert in_order(sink.last)
        steps = [later.timestamp - sooner.timestamp for sooner, later in pairwise(sink.last.frames)]
        assert max(steps) <= 1000


async def test_a_source_that_was_never_there_is_looked_for_after_each_round() -> None:
    """The file is played again as long as it is not."""
    async with FileServer({"/slate.mp4": file("plain", seconds=1)}) as server, staged() as stage:
        async with Origin(clip("plain")) as gone:
            url = gone.url
        sink = await stage.sink()
        sources = Source(id="source", url=url), Playlist(id="backup", urls=(server.url("/slate.mp4"),))
        stage.engine.run(KEY, 1, Plan(sources=sources, sinks=(Sink(id="sink", url=sink.url),)))
        await stage.until(lambda: sink.connections and len(sink.last.frames) > 80)
        assert stage.seen.on_air == "backup"
        assert "source: " in stage.seen.error
        assert len(sink.connections) == 1
        assert in_order(sink.last)
