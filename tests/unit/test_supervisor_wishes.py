"""A supervisor whose node is wanted, or not any more, or elsewhere: in virtual time, ended in order."""

import asyncio

import pytest

from penstock.media.supervisor import NodeState, Supervisor
from tests.unit.supervised import Node, Wire, refused

pytestmark = pytest.mark.looptime


class Orderly:
    """A leaf that notes how it is ended; saying goodbye takes it a second."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    async def __call__(self, supervisor: Supervisor) -> None:
        supervisor.connected(Wire())
        supervisor.progressed()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(1)
            self.ended.append(asyncio.get_running_loop().time())


async def test_a_node_that_is_not_wanted_any_more_ends_in_order_and_rests() -> None:
    """Until it is wanted again."""
    leaf = Orderly()
    async with Node(leaf) as node:
        await asyncio.sleep(5)
        node.supervisor.want(False)
        await asyncio.sleep(0.5)
        assert leaf.ended == []
        await asyncio.sleep(20)
        assert len(leaf.ended) == 1
        assert (node.supervisor.state, node.supervisor.error) == (NodeState.IDLE, "")
        node.supervisor.want(True)
        await asyncio.sleep(0.1)
        assert node.supervisor.state is NodeState.FLOWING
        assert node.supervisor.attempts == 2


async def test_a_node_that_is_wanted_again_at_once_begins_anew_without_an_error() -> None:
    """The source came back in the moment in which the sink was given up."""
    leaf = Orderly()
    async with Node(leaf) as node:
        await asyncio.sleep(5)
        node.supervisor.want(False)
        node.supervisor.want(True)
        await asyncio.sleep(1.1)
        assert node.supervisor.error == ""
        assert node.supervisor.state is NodeState.FLOWING
        assert node.tries == [0, 6]


async def test_a_node_that_waits_for_its_next_try_rests_at_once_when_it_is_not_wanted() -> None:
    """It announces no try that will not come, and has no error any more."""
    async with Node(refused) as node:
        await asyncio.sleep(20)
        assert node.supervisor.state is NodeState.RETRYING
        tries = len(node.tries)
        node.supervisor.want(False)
        await asyncio.sleep(0.1)
        assert (node.supervisor.state, node.supervisor.error) == (NodeState.IDLE, "")
        await asyncio.sleep(100)
        assert len(node.tries) == tries
        node.supervisor.want(True)
        await asyncio.sleep(0.1)
        assert len(node.tries) == tries + 1


async def test_reconnecting_is_orderly_immediate_and_no_failure() -> None:
    """A connection that has to begin anew for our own reasons."""
    leaf = Orderly()
    async with Node(leaf) as node:
        await asyncio.sleep(5)
        node.supervisor.reconnect()
        node.supervisor.reconnect()
        await asyncio.sleep(1.1)
        assert node.tries == [0, 6]
        assert [name for name, _ in node.events] == ["sink.flowing", "sink.flowing"]
        assert node.supervisor.error == ""


@pytest.mark.parametrize("wish", ["reconnect", "rest", "close"])
async def test_another_wish_does_not_cut_the_goodbye_short(wish: str) -> None:
    """The leaf is told once that it is to end, and has its time; nothing begins before it has ended."""
    leaf = Orderly()
    async with Node(leaf) as node:
        await asyncio.sleep(5)
        node.supervisor.reconnect()
        await asyncio.sleep(0.5)
        match wish:
            case "reconnect":
                node.supervisor.reconnect()
            case "rest":
                node.supervisor.want(False)
            case "close":
                await node.supervisor.close()
        await asyncio.sleep(0.6)
        assert leaf.ended == [pytest.approx(6)]
        assert node.tries == ([0, 6] if wish == "reconnect" else [0])


async def test_reconnecting_while_waiting_for_the_next_try_changes_nothing() -> None:
    """There is no connection to end, and the back-off stands."""
    async with Node(refused) as node:
        await asyncio.sleep(10)
        tries = list(node.tries)
        node.supervisor.reconnect()
        await asyncio.sleep(1)
        assert node.tries == tries


async def test_closing_waits_for_the_orderly_end() -> None:
    """Also while it connects, waits, or rests."""
    leaf = Orderly()
    node = Node(leaf)
    await asyncio.sleep(5)
    await node.supervisor.close()
    assert len(leaf.ended) == 1
    assert node.supervisor.state is NodeState.IDLE
    for seconds in (0, 0.1):
        other = Node(refused)
        await asyncio.sleep(seconds)
        await other.supervisor.close()
        assert other.supervisor.state is NodeState.IDLE
