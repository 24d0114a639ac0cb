"""Players of the hub: those that come late, and those that are slow. Real sockets, virtual time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import pytest

from tests import packets
from tests.packets import AVC_HEADER, number_of
from tests.rtmp_client import Client
from tests.rtmp_wire import VIDEO, Message
from tests.unit.house import House, house

pytestmark = pytest.mark.looptime(noop_cycles=12)

GOP = 25


def pictures(first: int, count: int, *, size: int = 30, gop: int = GOP) -> list[Message]:
    """Numbered pictures, 40 ms each, every `gop`th of them a keyframe."""
    return [
        Message(VIDEO, 40 * at, packets.picture(at, key=at % gop == 0, size=size)) for at in range(first, first + count)
    ]


def numbers(player: Client) -> list[int]:
    """Those of the pictures that it got."""
    return [number_of(payload) for type_, _, payload in player.media if type_ == VIDEO and payload[1]]


async def send(there: House, publisher: Client, messages: Sequence[Message]) -> None:
    """Have the hub take them in."""
    before = there.hub.status().streams[0].video
    for message in messages:
        publisher.send([message])
        await publisher.writer.drain()
    await there.until(lambda: there.hub.status().streams[0].video == before + len(messages))


async def up_to(player: Client, last: int) -> None:
    """Read until this picture has come."""
    await player.until(lambda: numbers(player)[-1:] == [last])


async def catch_up(player: Client) -> None:
    """Read all that waits."""
    with suppress(TimeoutError):
        await player.until(lambda: False, timeout=2)


@pytest.mark.parametrize(
    ("kept", "size"),
    [(250, 30), (160, 100_000)],
    ids=["10 s", "16 MB"],
)
async def test_the_newest_group_is_kept_for_players_who_come_within_its_bounds(kept: int, size: int) -> None:
    """One picture more and there is none: the next keyframe is where a player begins."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send([Message(VIDEO, 0, AVC_HEADER)])
        await send(there, publisher, pictures(0, kept, size=size, gop=1000))
        early = await there.play()
        await early.until(lambda: len(numbers(early)) == kept)
        assert numbers(early) == list(range(kept))
        await send(there, publisher, pictures(kept, 10, size=size, gop=1000))
        late = await there.play()
        await send(there, publisher, pictures(1000, 5, gop=1000))
        await late.until(lambda: len(numbers(late)) == 5)
        assert numbers(late) == list(range(1000, 1005))


async def test_a_slow_player_loses_whole_messages_up_to_a_keyframe_and_others_lose_nothing() -> None:
    """Each that it does not get is counted as its own; the hub says who it is."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send([Message(VIDEO, 0, AVC_HEADER)])
        quick, slow = await there.play(), await there.play()
        total = 0
        for second in range(12):
            await send(there, publisher, pictures(total, GOP, size=40_000))
            total += GOP
            await up_to(quick, total - 1)
            if second == 9:
                await there.until(lambda: there.hub.status().streams[0].players[1].dropped)
                await catch_up(slow)
        await up_to(slow, total - 1)
        await asyncio.sleep(1)
        assert numbers(quick) == list(range(total))
        got = numbers(slow)
        gaps = [(sooner, later) for sooner, later in pairwise(got) if later != sooner + 1]
        assert gaps
        assert all(later % GOP == 0 for _, later in gaps)
        assert {len(payload) for type_, _, payload in slow.media if type_ == VIDEO and payload[1]} == {40_000}
        (info,) = there.hub.status().streams
        assert [player.dropped for player in info.players] == [0, total - len(got)]
        assert info.dropped == total - len(got)
