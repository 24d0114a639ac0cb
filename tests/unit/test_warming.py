"""Plans of holds under the engine, in virtual time: what is shown of them, what is shared, how gently they begin."""

import asyncio
import random
import resource
from itertools import pairwise

import pytest

from penstock.app import viewers
from penstock.errors import MediaError, SourceError
from penstock.media.plan import Hold, Plan
from penstock.media.ramp import Ramp
from penstock.media.warming import Viewers, Warming
from penstock.net import Policy
from penstock.tasks.model import HoldStatus, State
from tests.rtmp_peer import Origin
from tests.unit.stage import KEY, Stage, staged

pytestmark = pytest.mark.looptime(noop_cycles=12)


def hold(edge: Origin, name: str = "e1", *, concurrency: int = 0, stream: str = "test") -> Hold:
    """A stream on an edge."""
    return Hold(
        id=f"{name}/rtmp",
        edge=name,
        area="domestic",
        url=f"rtmp://play.example.com/live/{stream}?key=secret",
        protocol="rtmp",
        host="127.0.0.1",
        port=edge.port,
        vhost="play.example.com",
        path=f"/live/{stream}",
        query="key=secret",
        concurrency=concurrency,
    )


def seen(stage: Stage, name: str = "e1") -> HoldStatus:
    """What is shown of an edge."""
    [status] = [status for status in stage.seen.holds if status.edge == name]
    return status


async def test_hold_is_warm_when_its_keyframe_has_come_and_tells_how_long_that_took() -> None:
    async with staged() as stage:
        edge = await stage.origin()
        stage.engine.run(KEY, 1, Plan(holds=(hold(edge),)))
        assert stage.seen.state is State.STARTING
        await stage.until_active()
        await stage.until(lambda: seen(stage).warm_ms is not None and seen(stage).bytes)
        status = seen(stage)
        assert (status.id, status.area, status.state, status.attempts) == ("e1/rtmp", "domestic", "flowing", 1)
        assert (status.reconnects, status.error, stage.seen.error) == (0, "", "")
        assert status.cold_ms is not None
        assert stage.names() == ["hold.flowing", "hold.measured"]
        assert stage.events[1][2] == f"e1/rtmp: first keyframe after {status.cold_ms} ms cold, {status.warm_ms} ms warm"
        assert "secret" not in str(stage.events) + str(status)
        # The one that measured is gone, the one that holds stays.
        await edge.until(lambda: [viewer.closed for viewer in edge.connections] == [False, True])
        await stage.engine.stop(KEY)
        await edge.until(lambda: all(viewer.closed for viewer in edge.connections))


async def test_edge_that_falls_silent_is_asked_anew() -> None:
    async with staged() as stage:
        edge = await stage.origin()
        stage.engine.run(KEY, 1, Plan(holds=(hold(edge),)))
        await stage.until_active()
        edge.stall()
        await stage.until(lambda: "hold.lost" in stage.names())
        lost = stage.events[-1][2]
        assert "e1/rtmp: no media for 15 s, after " in lost
        assert stage.seen.state is State.INACTIVE
        edge.resume()
        await stage.until_active()
        assert seen(stage).reconnects == 1


async def test_edge_that_drops_every_viewer_after_a_second_is_asked_ever_more_rarely() -> None:
    async with staged() as stage:
        edge = await stage.origin()
        stage.engine.run(KEY, 1, Plan(holds=(hold(edge),)))
        for _ in range(8):
            viewers = len(edge.connections)
            await stage.until(lambda: seen(stage).state == "flowing", timeout=120)
            await asyncio.sleep(1)
            edge.drop()
            await stage.until(lambda n=viewers: len(edge.connections) > n, timeout=120)  # type: ignore[misc]
        begun = [viewer.at for viewer in edge.connections]
        assert begun[-1] - begun[0] > 2 * len(begun)
        assert seen(stage).reconnects >= 7


async def test_area_without_edges_says_so() -> None:
    async with staged() as stage:
        stage.engine.run(KEY, 1, Plan())
        assert (stage.seen.state, stage.seen.error) == (State.INACTIVE, "no edge node serves this area")


async def test_one_warm_edge_makes_a_task_active_and_the_others_say_what_is_wrong() -> None:
    async with staged() as stage:
        good, bad = await stage.origin(), await stage.origin()
        bad.refuse = "NetStream.Play.StreamNotFound"
        holds = (hold(good), *(hold(bad, f"bad{number}") for number in range(7)))
        stage.engine.run(KEY, 1, Plan(holds=holds))
        await stage.until_active()
        await stage.until(lambda: all("no such" in status.error for status in stage.seen.holds[1:]))
        assert seen(stage, "bad3").error.startswith("refused by the server, no such stream")
        assert stage.seen.error.count(" hold bad") == 5
        assert stage.seen.error.endswith("; and 2 more")


async def test_tasks_that_overlap_share_a_viewer_and_the_last_one_takes_it_along() -> None:
    async with staged() as stage:
        edge = await stage.origin()
        for key in (KEY, 8):
            stage.engine.run(key, 1, Plan(holds=(hold(edge),)))
        await stage.until_active()
        await stage.until(lambda: seen(stage).warm_ms is not None)
        assert len([viewer for viewer in edge.connections if not viewer.closed]) == 1
        assert [one.state for one in stage.engine.snapshot()] == [State.ACTIVE] * 2
        assert {key for key, name, _ in stage.events if name == "hold.flowing"} == {KEY, 8}
        await stage.engine.stop(8)
        await stage.until_active()
        assert not edge.connections[0].closed
        await stage.engine.stop(KEY)
        await edge.until(lambda: edge.connections[0].closed)


async def test_changed_plan_touches_only_what_is_different() -> None:
    async with staged() as stage:
        kept, gone, new = await stage.origin(), await stage.origin(), await stage.origin()
        stage.engine.run(KEY, 1, Plan(holds=(hold(kept, "kept"), hold(gone, "moved"))))
        await stage.until(lambda: [status.state for status in stage.seen.holds] == ["flowing"] * 2)
        stage.engine.run(KEY, 1, Plan(holds=(hold(kept, "kept"), hold(new, "moved"))))
        await gone.until(lambda: gone.connections[0].closed)
        await stage.until(lambda: seen(stage, "moved").state == "flowing")
        assert seen(stage, "kept").attempts == 1
        assert not kept.connections[0].closed


async def test_no_more_streams_are_held_on_an_edge_than_it_allows() -> None:
    async with staged() as stage:
        edge = await stage.origin()
        for key in (KEY, 8):
            stage.engine.run(key, 1, Plan(holds=(hold(edge, concurrency=1, stream=f"s{key}"),)))
        await stage.until_active()
        other = stage.engine.observed(8)
        assert other is not None
        assert (other.state, other.holds[0].state) == (State.STARTING, "idle")
        assert other.holds[0].error == "waits for one of the 1 places on the edge"
        await stage.engine.stop(KEY)
        await stage.until(lambda: stage.engine.states()[8][1] is State.ACTIVE)


async def test_worker_holds_no_more_streams_than_it_may_and_says_so() -> None:
    async with staged() as stage:
        edge = await stage.origin()
        stage.engine._viewers._most = 2
        stage.engine.run(KEY, 1, Plan(holds=tuple(hold(edge, f"e{number}") for number in range(3))))
        await stage.until(lambda: [status.state for status in stage.seen.holds] == ["flowing", "flowing", "idle"])
        assert seen(stage, "e2").error == "waits for one of the 2 streams that this worker may hold"
        stage.engine.run(KEY, 1, Plan(holds=(hold(edge, "e0"), hold(edge, "e2"))))
        await stage.until(lambda: [status.state for status in stage.seen.holds] == ["flowing", "flowing"])


@pytest.mark.parametrize(("files", "most"), [(100, 50), (524_288, 8_000), (resource.RLIM_INFINITY, 8_000)])
async def test_holds_leave_files_for_all_else(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert viewers(Policy(), rng=random.Random())._most == most


async def test_measuring_takes_no_turn_from_those_who_are_not_warm_yet() -> None:
    """With two viewers a second, ten streams are warm after 5 s, and all of them are measured."""
    async with staged() as stage:
        edge = await stage.origin()
        stage.engine._viewers._ramp = Ramp(rate=2, pulls=20)
        stage.engine.run(KEY, 1, Plan(holds=tuple(hold(edge, f"e{number}") for number in range(20))))
        begun = asyncio.get_running_loop().time()
        await stage.until(lambda: all(status.state == "flowing" for status in stage.seen.holds))
        assert 9 < asyncio.get_running_loop().time() - begun < 11
        await stage.until(lambda: all(status.warm_ms is not None for status in stage.seen.holds))


class Still:
    """A stream that is watched without a socket."""

    received = sent = 0
    stall = 1e9

    async def hold(self) -> None:
        """For ever."""
        await asyncio.Event().wait()

    def close(self, reason: str) -> None:
        """Nothing is open."""


class Fleet:
    """Edges without sockets. One that has not got a stream fetches it within 0.1 s; one in ten cannot at first."""

    def __init__(self, edges: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.edges = range(edges)
        #: When each fetch began, and how many were under way at once.
        self.begun: list[float] = []
        self.most = self._fetching = 0
        self._tried: set[tuple[str, str]] = set()
        self._warm: set[tuple[str, str]] = set()

    async def watch(self, wanted: Hold) -> Still:
        """As a viewer."""
        where = wanted.edge, wanted.path
        if where not in self._warm:
            self.begun.append(self._loop.time())
            await self._fetch(where)
        return Still()

    async def _fetch(self, where: tuple[str, str]) -> None:
        self._fetching += 1
        self.most = max(self.most, self._fetching)
        await asyncio.sleep(0.1)
        self._fetching -= 1
        down = int(where[0]) % 10 == 0 and where not in self._tried
        self._tried.add(where)
        if down:
            raise SourceError("connection refused")
        self._warm.add(where)

    def plan(self, stream: int) -> Plan:
        """Of one stream, on all edges."""
        where = {"host": "h", "port": 1, "vhost": "play.example.com", "path": f"/live/{stream}"}
        url = f"rtmp://play.example.com/live/{stream}"
        holds = [
            Hold(id=f"{edge}/rtmp", edge=str(edge), area="global", url=url, protocol="rtmp", **where)  # type: ignore[arg-type]
            for edge in self.edges
        ]
        return Plan(holds=tuple(holds))


async def test_thousand_edges_are_warm_with_twenty_streams_when_the_ramp_has_let_them_all_begin() -> None:
    """No sooner, and no later; those that fail wait for another turn."""
    loop = asyncio.get_running_loop()
    fleet = Fleet(edges=1000)
    crew = Viewers(fleet.watch, Ramp(rate=100, pulls=20), rng=random.Random(1), most=20_000)
    left, warm = 20_000, asyncio.Event()

    def on_event(name: str, _: str) -> None:
        nonlocal left
        left -= name == "hold.flowing"
        if not left:
            warm.set()

    start = loop.time()
    warmings = [Warming(fleet.plan(stream), viewers=crew, task=stream, on_event=on_event) for stream in range(20)]
    await asyncio.wait_for(warm.wait(), 600)
    took = loop.time() - start
    tries = len(fleet.begun)
    assert tries == 22_000
    assert (tries - 1) / 100 <= took < tries / 100 + 1
    assert fleet.most <= 20
    assert min(later - sooner for sooner, later in pairwise(fleet.begun)) > 0.9 / 100
    await asyncio.gather(*(warming.close() for warming in warmings))


async def test_turn_is_given_back_when_somebody_gives_up() -> None:
    ramp = Ramp(rate=1000, pulls=1)

    async def fail() -> None:
        async with ramp.turn("o"):
            raise MediaError

    async def stay() -> None:
        async with ramp.turn("o"):
            await asyncio.sleep(1000)

    staying = asyncio.ensure_future(stay())
    await asyncio.sleep(0.1)
    waiting = asyncio.ensure_future(stay())
    await asyncio.sleep(0.1)
    for task in (waiting, staying):
        task.cancel()
    await asyncio.wait([waiting, staying])
    async with asyncio.timeout(1):
        for _ in range(3):
            with pytest.raises(MediaError):
                await fail()
