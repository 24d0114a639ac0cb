"""The supervisor in virtual time: retries and their delays, errors, events, and ends in order."""

import asyncio
import random
import re
from itertools import pairwise

import pytest

from penstock.errors import AddressRefused, SinkError, SourceError
from penstock.media.supervisor import LAST_DELAY, Backoff, NodeState, Supervisor
from tests.unit.supervised import Latest, Node, Wire, flow, refused

pytestmark = pytest.mark.looptime


# -- back-off


async def test_tries_are_half_a_second_apart_then_twice_as_far_up_to_thirty() -> None:
    """The bound of the delay; it is drawn below."""
    async with Node(refused) as node:
        await asyncio.sleep(200)
        waits = [later - sooner for sooner, later in pairwise(node.tries)]
    assert waits[:8] == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])
    assert node.supervisor.attempts == len(node.tries)


def test_delays_are_drawn_from_the_whole_span() -> None:
    """Full jitter: a thousand tasks of one dead server do not come back as one."""
    drawn = []
    for seed in range(300):
        backoff = Backoff(random.Random(seed))
        drawn.append([backoff.delay(0) for _ in range(9)])
    last = [delays[-1] for delays in drawn]
    assert min(last) < LAST_DELAY * 0.05
    assert max(last) > LAST_DELAY * 0.95
    assert max(delays[0] for delays in drawn) <= 0.5


def test_a_year_of_failures_does_not_overflow_the_delay() -> None:
    """The power is bounded, too."""
    backoff = Backoff(Latest())
    assert [backoff.delay(0) for _ in range(5000)][-1] == LAST_DELAY


@pytest.mark.parametrize(("healthy", "wait"), [(9.9, 16), (10, 0.5)])
async def test_ten_seconds_of_media_forget_earlier_failures(healthy: float, wait: float) -> None:
    """Less does not: a destination that drops us each time is not hammered."""

    async def leaf(supervisor: Supervisor) -> None:
        if supervisor.attempts < 6:
            await refused(supervisor)
        await flow(supervisor, healthy)

    async with Node(leaf) as node:
        await asyncio.sleep(100)
    assert node.tries[6] - node.tries[5] == pytest.approx(healthy + wait)


async def test_a_connection_without_media_is_no_health() -> None:
    """A server that accepts and stays silent is not tried twice a second for ever."""

    async def leaf(supervisor: Supervisor) -> None:
        supervisor.connected(Wire())
        await asyncio.sleep(60)
        raise SinkError("closed by the peer")

    async with Node(leaf) as node:
        await asyncio.sleep(300)
    assert [later - sooner for sooner, later in pairwise(node.tries)] == pytest.approx([60.5, 61, 62, 64])


# -- states, errors, events


async def test_a_node_tells_where_it_is() -> None:
    """Connecting, connected, flowing, retrying, idle; and since when."""
    seen = []

    async def leaf(supervisor: Supervisor) -> None:
        await asyncio.sleep(1)
        supervisor.connected(Wire())
        await asyncio.sleep(1)
        supervisor.progressed()
        await asyncio.sleep(1)
        raise SinkError("gone")

    async with Node(leaf) as node:
        for _ in range(4):
            await asyncio.sleep(0.9)
            seen.append((node.supervisor.state, round(node.supervisor.since, 1)))
            if node.supervisor.state is not NodeState.RETRYING:
                await asyncio.sleep(0.1)
    begun = seen[0][1]
    assert [(state, round(since - begun, 1)) for state, since in seen] == [
        (NodeState.CONNECTING, 0),
        (NodeState.CONNECTED, 1),
        (NodeState.FLOWING, 2),
        (NodeState.CONNECTING, 3.5),
    ]
    assert node.supervisor.state is NodeState.IDLE


async def test_an_error_stays_until_media_flows_again() -> None:
    """With the time at which it first came; being connected is not enough."""

    async def leaf(supervisor: Supervisor) -> None:
        if supervisor.attempts < 4:
            await refused(supervisor)
        supervisor.connected(Wire())
        await asyncio.sleep(5)
        supervisor.progressed()
        await asyncio.sleep(3600)

    async with Node(leaf) as node:
        await asyncio.sleep(7)
        first = node.supervisor.error_at
        assert node.supervisor.state is NodeState.CONNECTED
        assert node.supervisor.error == "connection refused"
        await asyncio.sleep(3)
        assert node.supervisor.error == ""
        assert first == pytest.approx(node.supervisor.since - 8.5)


async def test_the_next_try_is_announced() -> None:
    """ErrorInfo says when it comes."""
    async with Node(refused) as node:
        await asyncio.sleep(10)
        assert node.supervisor.state is NodeState.RETRYING
        left = node.supervisor.retry_at - asyncio.get_running_loop().time()
        tries = len(node.tries)
        await asyncio.sleep(left - 0.01)
        assert len(node.tries) == tries
        await asyncio.sleep(0.02)
        assert len(node.tries) == tries + 1


async def test_events_tell_each_change_and_of_a_failure_that_repeats_ever_less() -> None:
    """With the reason and what happens next; a week of the same failure is a dozen lines of history."""
    reasons = iter([*["connection refused"] * 5, "no route to host", None, "connection refused"])

    async def leaf(supervisor: Supervisor) -> None:
        reason = next(reasons, "connection refused")
        if reason is None:
            await flow(supervisor, 20)
        raise SinkError(reason)

    async with Node(leaf) as node:
        await asyncio.sleep(200)
    told = [(name, re.sub(r" in \d+\.\d s$", "", text)) for name, text in node.events]
    assert told[:9] == [
        ("sink.failed", "connection refused; retry 1"),
        ("sink.failed", "connection refused, 2 times in a row; retry 2"),
        ("sink.failed", "connection refused, 4 times in a row; retry 4"),
        ("sink.failed", "no route to host; retry 6"),
        ("sink.flowing", "media flows on connection 7"),
        ("sink.lost", "closed by the peer, after 20.0 s of media; retry 7"),
        ("sink.failed", "connection refused; retry 8"),
        ("sink.failed", "connection refused, 2 times in a row; retry 9"),
        ("sink.failed", "connection refused, 4 times in a row; retry 11"),
    ]


async def test_a_refused_address_is_an_error_like_others() -> None:
    """The network policy may be changed, a name may move."""

    async def leaf(_: Supervisor) -> None:
        raise AddressRefused("address 10.0.0.1 is not public; the setting network.allow can permit it")

    async with Node(leaf) as node:
        await asyncio.sleep(1)
        assert "network.allow" in node.supervisor.error
        assert len(node.tries) == 2


@pytest.mark.parametrize("defect", [KeyError("x"), RecursionError(), asyncio.InvalidStateError()])
async def test_a_defect_in_a_leaf_does_not_kill_its_supervisor(defect: Exception) -> None:
    """It is named by its kind only: its text may hold anything."""

    async def leaf(supervisor: Supervisor) -> None:
        if supervisor.attempts == 1:
            raise defect
        await flow(supervisor)

    async with Node(leaf) as node:
        await asyncio.sleep(0.1)
        assert node.supervisor.error == f"internal error ({type(defect).__name__})"
        await asyncio.sleep(1)
        assert node.supervisor.state is NodeState.FLOWING


async def test_a_leaf_that_just_returns_is_retried() -> None:
    """It has ended, whyever."""

    async def leaf(_: Supervisor) -> None:
        return

    async with Node(leaf) as node:
        await asyncio.sleep(1.6)
    assert node.tries == pytest.approx([0, 0.5, 1.5])


# -- what is measured


async def test_a_failure_that_the_owner_sees_breaks_the_connection_for_that_reason() -> None:
    """A stall is seen from outside; the leaf then raises what the connection was closed with."""
    wire = Wire()

    async def leaf(supervisor: Supervisor) -> None:
        supervisor.connected(wire)
        await asyncio.sleep(3600)

    async with Node(leaf) as node:
        node.supervisor.fail("too early: there is no connection yet")
        await asyncio.sleep(1)
        node.supervisor.fail("no media for 3 s")
        assert wire.reasons == ["no media for 3 s"]


async def test_bytes_are_counted_over_all_connections() -> None:
    """A source's received ones, a sink's sent ones, also those since the last measurement."""
    wires = []

    async def leaf(supervisor: Supervisor) -> None:
        wires.append(Wire())
        supervisor.connected(wires[-1])
        supervisor.progressed()
        wires[-1].received = 1000
        await asyncio.sleep(10)
        wires[-1].received = 5000
        raise SourceError("closed by the peer")

    async with Node(leaf, side="source") as node:
        await asyncio.sleep(5)
        assert node.supervisor.measure() == 1000
        assert node.supervisor.measure() == 0
        await asyncio.sleep(10)
        assert len(wires) == 2
        assert node.supervisor.measure() == 1000
        assert node.supervisor.meter.bytes == 6000


async def test_silence_counts_from_the_connection_or_from_the_last_media() -> None:
    """Media of an earlier connection is long ago, but no fault of this one."""

    async def leaf(supervisor: Supervisor) -> None:
        await asyncio.sleep(3)
        supervisor.connected(Wire())
        await asyncio.sleep(4)
        supervisor.progressed()
        await asyncio.sleep(10)
        raise SinkError("gone")

    async with Node(leaf) as node:
        await asyncio.sleep(5)
        assert node.supervisor.silent_for == pytest.approx(2)
        await asyncio.sleep(4)
        assert node.supervisor.silent_for == pytest.approx(2)
        await asyncio.sleep(12.5)
        assert node.supervisor.silent_for == pytest.approx(1, abs=0.51)
