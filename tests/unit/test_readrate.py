"""Media that a child brings too early goes out at its own pace, and nothing that comes in time ever waits."""

import asyncio
import socket

import pytest

from penstock.media.flv import FlvChunks
from penstock.media.pump import Connection, Pump
from penstock.media.readrate import BURST, CATCH_UP, LATE, PacedFlv, ReadRate
from tests.packets import Clip, metadata, picture
from tests.rtmp_wire import DATA, VIDEO, Message, flv_file

TICK = 0.04
FRAME = 40


def handed_on(rate: ReadRate, times: list[int], now: float) -> list[int]:
    """Take from `times` those that are due."""
    due = []
    while times and rate.is_due(times[0], now):
        due.append(times.pop(0))
    return due


@pytest.mark.parametrize("start", [0, 77_000, 0xFFFFFFFF - 300])
def test_media_goes_out_at_its_own_pace_from_the_first_on(start: int) -> None:
    """Half a second at once; also where the 32 bits of its clock are over."""
    rate, times = ReadRate(), [(start + at) % (1 << 32) for at in range(0, 4000, FRAME)]
    assert len(handed_on(rate, times, 100.0)) == BURST // FRAME + 1
    for tick in range(1, 50):
        handed_on(rate, times, 100.0 + tick * TICK)
        assert 100 - len(times) == BURST // FRAME + 1 + tick


def test_media_that_comes_at_its_own_pace_never_waits() -> None:
    """Although the network brings some of it later, and more at once then."""
    rate = ReadRate()
    for at in range(0, 60_000, FRAME):
        arrives = at + (at // FRAME * 37 % 8) * FRAME
        assert rate.is_due(at, arrives / 1000)


def test_what_is_late_is_caught_up_on_a_little_faster_than_it_plays() -> None:
    """Not at once: whoever looks on would have to drop it, or see it race past."""
    rate, times = ReadRate(), list(range(0, 120_000, FRAME))
    handed_on(rate, times, 0.0)
    # Nothing comes for two seconds and what went ahead of the pace, then all at once.
    back = 2.0 + BURST / 1000
    assert len(handed_on(rate, times, back)) * FRAME <= BURST + FRAME
    seconds = [
        sum(len(handed_on(rate, times, back + second + tick * TICK)) for tick in range(1, 26)) * FRAME / 1000
        for second in range(60)
    ]
    assert max(seconds) <= CATCH_UP + FRAME / 1000
    assert sum(seconds[:30]) == pytest.approx(30 * CATCH_UP, abs=0.1)
    # Once they are made good, it goes on at its own pace.
    assert sum(seconds[45:]) == pytest.approx(15, abs=0.1)


def test_a_little_delay_is_no_lateness() -> None:
    """A pause that is shorter than what goes ahead of the pace is made good at once."""
    rate, times = ReadRate(), list(range(0, 20_000, FRAME))
    handed_on(rate, times, 0.0)
    assert len(handed_on(rate, times, (BURST + LATE) / 1000)) == (BURST + LATE) // FRAME


@pytest.mark.parametrize("step", [3_600_000, -50_000])
def test_a_jump_of_the_clock_is_not_waited_for(step: int) -> None:
    """The pace goes on where it was."""
    rate = ReadRate()
    before, after = list(range(0, 1000, FRAME)), [100_000 + step + at for at in range(0, 4000, FRAME)]
    times = [100_000 + at for at in before] + after
    for tick in range(51):
        handed_on(rate, times, tick * TICK)
    assert 100 + 25 - len(times) == (2000 + BURST) // FRAME + 2


class Child:
    """The other end of the socket that is paced, and what the pump makes of it."""

    def __init__(self, pump: Pump) -> None:
        ours, self.sock = socket.socketpair()
        for sock in (ours, self.sock):
            sock.setblocking(False)
        self.ours = ours
        #: When each message was handed on (loop time), and the message.
        self.media: list[tuple[float, tuple[int, int, bytes]]] = []
        self.connection: Connection = pump.add(PacedFlv(pump, ours), FlvChunks(), on_media=self._take)

    def _take(self, *message: object) -> None:
        self.media.append((asyncio.get_running_loop().time(), message))  # type: ignore[arg-type]

    @property
    def messages(self) -> list[tuple[int, int, bytes]]:
        return [message for _, message in self.media]


@pytest.mark.looptime
@pytest.mark.parametrize("size", [100, 5000, 1 << 17])
async def test_a_child_that_writes_all_at_once_is_taken_tag_by_tag(size: int) -> None:
    """However it cuts what it writes: all of it, nothing early, and then its end."""
    pump, clip = Pump(tick=TICK), Clip(seconds=3).messages()
    child, data = Child(pump), flv_file([Message(DATA, 0, metadata(encoder="x")), *clip])
    began = asyncio.get_running_loop().time()
    for at in range(0, len(data), size):
        child.sock.send(data[at : at + size])
    child.sock.close()
    assert await child.connection.wait_closed() == "closed by the peer"
    assert child.messages[1:] == [(m.type, m.timestamp, m.payload) for m in clip]
    assert child.connection.received == len(data)
    for taken, (_, time, _) in child.media:
        assert time <= (taken - began) * 1000 + BURST
        assert taken - began <= max(0, time - BURST) / 1000 + 3 * TICK
    assert child.ours.fileno() < 0
    pump.close()


@pytest.mark.looptime
async def test_a_child_that_writes_too_much_has_to_wait() -> None:
    """What is kept of it is bounded by its socket and one look into that; nothing is read while something waits."""
    pump = Pump(tick=TICK)
    child = Child(pump)
    child.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    frames = [Message(VIDEO, at, picture(at, key=True, size=2000)) for at in range(0, 60_000, FRAME)]
    data, written, waited = memoryview(flv_file(frames)), 0, 0
    while waited < 25:
        try:
            written += child.sock.send(data[written : written + 2000])
        except BlockingIOError:
            waited += 1
            await asyncio.sleep(TICK)
    handed_on = len(child.media) * 2000
    assert 0 < handed_on < written < handed_on + (1 << 18)
    child.sock.close()
    pump.close()


@pytest.mark.looptime
async def test_a_tag_that_is_broken_off_and_no_flv_at_all_end_it() -> None:
    """With the reason that the pump's reader has."""
    pump = Pump(tick=TICK)
    broken, other = Child(pump), Child(pump)
    broken.sock.send(flv_file([Message(VIDEO, 0, picture(key=True))])[:-20])
    broken.sock.close()
    other.sock.send(b"\x08" * 1000)
    other.sock.close()
    assert await broken.connection.wait_closed() == "closed by the peer"
    assert broken.media == []
    assert await other.connection.wait_closed() == "this is not FLV"
    pump.close()
