"""A source whose clocks jump: sound and picture that belong together stay so, to the millisecond."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import pairwise

import pytest

from penstock.media.packet import AUDIO, VIDEO, kind_of
from penstock.media.standby import Standby
from penstock.media.timeline import Timeline
from tests.packets import Clip
from tests.rtmp_wire import Message
from tests.unit.output import SOUND_STEP, Output

HOUR = 3_600_000
BEGUN = 2 * HOUR
BOTH = (VIDEO, AUDIO)
#: Eight seconds; other numbers than those of a clip that is played before it.
CLIP = Clip(seconds=8, start=BEGUN, first_number=1000)

#: From when on (ms since the source began) the clocks of these kinds say so many ms more.
Jump = tuple[int, int, Collection[int]]


def jumping(source: list[Message], *jumps: Jump) -> list[Message]:
    """A source whose clocks jump."""

    def by(message: Message) -> int:
        return sum(ms for at, ms, kinds in jumps if message.type in kinds and message.timestamp >= BEGUN + at)

    return [replace(message, timestamp=message.timestamp + by(message)) for message in source]


def without(source: list[Message], *, after: int, until: int, kinds: Collection[int] = BOTH) -> list[Message]:
    """A source of which some was lost, in ms since it began."""
    return [m for m in source if not (m.type in kinds and BEGUN + after < m.timestamp < BEGUN + until)]


def relation(out: Output, source: list[Message], *, after: int) -> int:
    """By how many ms the pictures of the rest of a source came later than its sounds."""
    part = [m for m in source if m.timestamp >= BEGUN + after]
    [pictures], [sounds] = out.offsets(part, VIDEO), out.offsets(part, AUDIO)
    return pictures - sounds


@pytest.mark.parametrize("alone", [VIDEO, AUDIO])
@pytest.mark.parametrize("both", [-2500, 2500, HOUR])
def test_clocks_that_are_apart_jump_together(both: int, alone: int) -> None:
    """What counts is what the other clock has just done, not where both began."""
    source = replace(CLIP, frame=80, gop=50, b_frames=1).messages()
    out = Output().play(jumping(source, (2000, HOUR, [alone]), (4000, both, BOTH)))
    assert abs(relation(out, source, after=4500)) <= 1
    assert out.timeline.jumps == 3


@pytest.mark.parametrize("step", [-1000, 1950, 1960, 1970, 1980, 1990])
def test_a_step_that_is_a_jump_for_one_kind_alone_moves_both(step: int) -> None:
    """The two come a frame apart, so that one steps by more and the other by less than what makes a jump."""
    source = CLIP.messages()
    out = Output().play(jumping(source, (2000, step, BOTH)))
    assert relation(out, source, after=4500) == 0


@pytest.mark.parametrize("lost", [600, 1800])
@pytest.mark.parametrize("at", [2020, 2030])
def test_both_clocks_jump_and_then_something_is_lost(at: int, lost: int) -> None:
    """Of one kind the first message after the jump has come, of the other none."""
    source = CLIP.messages()
    out = Output().play(jumping(without(source, after=at + 15, until=at + 15 + lost), (at, 2500, BOTH)))
    assert relation(out, source, after=5000) == 0


@pytest.mark.parametrize("alone", [VIDEO, AUDIO])
def test_a_clock_returns_while_something_is_lost(alone: int) -> None:
    """What was lost is no part of its jump."""
    source = CLIP.messages()
    there_and_back = without(source, after=4000, until=5600)
    out = Output().play(jumping(there_and_back, (2000, HOUR, [alone]), (5000, -HOUR, [alone])))
    assert relation(out, source, after=6000) == 0


@pytest.mark.parametrize("kind", [VIDEO, AUDIO])
def test_a_kind_that_pauses_comes_back_where_the_other_is(kind: int) -> None:
    """Its clock has gone on meanwhile: that is no jump."""
    source = replace(CLIP, gop=5).messages()
    out = Output().play(without(source, after=2000, until=6000, kinds=[kind]))
    assert relation(out, source, after=6000) == 0
    assert out.timeline.jumps == 0


def test_sound_jumps_where_that_of_the_source_before_still_runs() -> None:
    """Its clock goes on; the end of the old sound has no part in it."""
    before = [m for m in Clip(seconds=3).messages() if m.type != VIDEO or m.timestamp < 2200]
    source = CLIP.messages()
    out = Output().play(before).play(jumping(source, (300, -4000, [AUDIO])))
    assert relation(out, source, after=1000) == 0


@pytest.mark.parametrize("lost", [2100, 2900])
@pytest.mark.parametrize("at", [2000, 2015])
def test_a_step_as_long_as_the_pause_before_it_is_none(at: int, lost: int) -> None:
    """So much was lost on the way; the output keeps step with the wall clock."""
    source = CLIP.messages()
    messages = without(source, after=at, until=at + lost)
    pause = 0
    out = Output()
    out.timeline = Timeline(lambda *entry: out.entries.append(entry), pause=lambda: float(pause))
    for before, message in pairwise([messages[0], *messages]):
        pause = message.timestamp - before.timestamp - 700  # it came as late as that
        out.play([message], switch=False)
    assert out.timeline.jumps == 0
    assert relation(out, source, after=0) == 0
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1


@pytest.mark.parametrize("alone", [VIDEO, AUDIO])
def test_a_clock_jumps_by_more_than_the_pause_before(alone: int) -> None:
    """It is a jump."""
    source = CLIP.messages()
    out = Output()
    out.timeline = Timeline(lambda *entry: out.entries.append(entry), pause=lambda: 2500.0)
    out.play(jumping(source, (2000, 4000, [alone])), switch=False)
    assert abs(relation(out, source, after=2500)) <= 1


def stand_by(source: Standby, messages: Iterable[Message]) -> None:
    """Let it take messages while it is not on air, or its headers."""
    for m in messages:
        source.take(m.type, m.timestamp % 2**32, m.payload, kind_of(m.type, m.payload))


def settle(source: Standby) -> None:
    """Let it find out that its server has sent all it had kept, if it has sent something."""
    for _ in range(3):
        source.settle()


def go_on_air(out: Output, source: Standby) -> None:
    """Splice it to the output, with what it has kept."""
    entries = source.release(source.entrance(0))
    out.timeline.switch(source.clocks)
    for entry in entries:
        out.timeline.push(*entry)


@pytest.mark.parametrize("settled", [0, 2300])
@pytest.mark.parametrize("at", [200, 2000, 2500, 3200, 4500])
@pytest.mark.parametrize("alone", [VIDEO, AUDIO])
def test_clocks_part_while_the_source_stands_by(alone: int, at: int, settled: int) -> None:
    """Before the keyframe with which it comes in, or after it: all that it has sent says how they belong together."""
    source = CLIP.messages()
    messages = jumping(source, (at, 4000, [alone]))
    seen = sum(m.timestamp < BEGUN + 3500 for m in source)
    early = sum(m.timestamp < BEGUN + settled for m in source)
    out, standby = Output().play(Clip()), Standby()
    stand_by(standby, messages[:early])
    settle(standby)
    stand_by(standby, messages[early:seen])
    settle(standby)
    go_on_air(out, standby)
    out.play(messages[seen:], switch=False)
    assert relation(out, source, after=6000) == 0


def test_clocks_that_have_parted_stay_known_while_the_source_stands_by() -> None:
    """It is on air, another is, it is again: the relation is that from the beginning."""
    source = CLIP.messages()
    messages = jumping(source, (1500, HOUR, [AUDIO]))
    first, second = (sum(m.timestamp < BEGUN + at for m in source) for at in (3000, 5500))
    out, standby = Output().play(Clip()), Standby()
    stand_by(standby, messages[:3])
    go_on_air(out, standby)
    out.play(messages[3:first], switch=False).play(Clip())
    standby.resume()
    stand_by(standby, messages[first:second])
    go_on_air(out, standby)
    out.play(messages[second:], switch=False)
    assert abs(relation(out, source, after=6000)) <= 1


@pytest.mark.parametrize("frame", [20, 40, 80])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_picture_jumps_alone_in_the_first_moment(frame: float, b_frames: int) -> None:
    """Two pictures tell how long one lasts, whatever they lasted in the source before."""
    source = replace(CLIP, frame=frame, b_frames=b_frames).messages()
    out = Output().play(Clip()).play(jumping(source, (200, HOUR, [VIDEO])))
    assert relation(out, source, after=0) == 0
