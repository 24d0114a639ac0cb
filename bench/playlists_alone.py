"""A worker's engine alone, playing playlists for ever: ``python -m bench.playlists_alone FILE SINK…``, all URLs.

Each sink gets a playlist of its own, of this one file.
"""

import asyncio
import sys

import uvloop

from bench.engine_alone import make
from penstock.media.plan import Plan, Playlist, Sink


async def run(file: str, sinks: list[str]) -> None:
    """Begin one after another, so that their rounds are not in step, and go on for ever."""
    engine = make()
    await engine.start()
    for number, url in enumerate(sinks, 1):
        engine.run(number, 1, Plan(sources=(Playlist(id="source", urls=(file,)),), sinks=(Sink(id="sink", url=url),)))
        await asyncio.sleep(0.05)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], sys.argv[2:]))
