"""The Timeline with clocks that jump and wrap, and with anything that hypothesis can think of."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.media.packet import (
    AUDIO,
    DATA,
    VIDEO,
    Kind,
)
from tests.packets import Clip, cts_of
from tests.rtmp_wire import Message
from tests.unit.output import CLIP, SOUND_STEP, Output, moved, rises

# -- clocks that jump

HOUR = 3_600_000


@pytest.mark.parametrize(("b_frames", "at"), [(0, 2000), (2, 2000), (2, 2040), (2, 2080)])
@pytest.mark.parametrize("apart", [0, 100])
@pytest.mark.parametrize("step", [HOUR, 3_000, -5_000, -HOUR, -9_999])
def test_a_source_whose_clocks_both_jump_goes_on_where_it_was(step: int, apart: int, b_frames: int, at: int) -> None:
    """Also if the sound jumps some messages after the picture; the sources' own relation is kept."""
    clip = Clip(seconds=4, b_frames=b_frames, start=2 * HOUR)
    source = clip.messages()
    middle = 2 * HOUR + at
    jumping = moved(moved(source, after=middle, video=step), after=middle + apart, audio=step)
    out = Output().play(jumping)
    assert out.largest_step() <= 53
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1
    assert rises(time for time, _ in out.pictures)
    assert rises(time for time, _ in out.of(Kind.SOUND))
    assert len(out.pictures) == 100
    later = [(m.timestamp, m) for m in source if m.timestamp >= middle + 1000]
    pictures = out.offsets([m for _, m in later], VIDEO)
    sounds = out.offsets([m for _, m in later], AUDIO)
    assert len(pictures) == len(sounds) == 1
    assert abs(pictures.pop() - sounds.pop()) <= 1


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_sound_that_jumps_alone_goes_on_by_itself(step: int) -> None:
    """The picture does not follow it."""
    source = Clip(seconds=4, start=2 * HOUR).messages()
    out = Output().play(moved(source, after=2 * HOUR + 2000, audio=step))
    assert out.largest_step() == 40
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1
    sounds = out.offsets(source, AUDIO)
    assert max(sounds) - min(sounds) <= 1
    assert out.timeline.jumps == 1


@pytest.mark.parametrize("frame", [20, 40, 80])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_picture_that_jumps_alone_goes_on_by_itself(frame: float, b_frames: int) -> None:
    """The sound does not follow it, and the relation of the two is what it was."""
    source = Clip(seconds=4, frame=frame, b_frames=b_frames, start=2 * HOUR, first_number=100).messages()
    out = Output().play(Clip(seconds=1)).play(moved(source, after=2 * HOUR + 200, video=HOUR))
    [pictures], [sounds] = out.offsets(source, VIDEO), out.offsets(source, AUDIO)
    assert pictures == sounds
    assert out.timeline.jumps == 1


def test_jumping_there_and_back_keeps_the_relation() -> None:
    """Twice an hour forward and back."""
    source = Clip(seconds=10, start=2 * HOUR).messages()
    for at, step in ((2000, HOUR), (4000, -HOUR), (6000, HOUR), (8000, -HOUR)):
        after = 2 * HOUR + at
        source = [
            replace(m, timestamp=m.timestamp + step) if original.timestamp >= after else m
            for m, original in zip(source, Clip(seconds=10, start=2 * HOUR).messages(), strict=True)
        ]
    out = Output().play(source)
    assert out.largest_step() <= 53
    original = Clip(seconds=10, start=2 * HOUR).messages()
    relation = out.offsets(original[-40:], VIDEO).pop() - out.offsets(original[-40:], AUDIO).pop()
    assert abs(relation) <= 4


@pytest.mark.parametrize("at", [0, 20, 100, 300])
@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_clocks_that_jump_in_the_first_moment_are_followed(step: int, at: int) -> None:
    """Before the first sound, or while the first keyframe waits for the audio header."""
    begun = 2 * HOUR
    source = Clip(seconds=4, start=begun).messages()
    header = next(m for m in source if m.type == AUDIO)
    source = [m for m in source if m is not header]
    late = next(i for i, m in enumerate(source) if m.timestamp > begun + 200)
    source.insert(late, replace(header, timestamp=begun + 201))
    out = Output().play(moved(source, after=begun + at + 1, video=step, audio=step))
    assert out.pictures[-1][0] - out.pictures[0][0] < 4_000
    assert out.largest_sound_step() < 1000
    assert rises(time for time, _ in out.of(Kind.SOUND))


@pytest.mark.parametrize("kind", ["video", "audio"])
@pytest.mark.parametrize("step", [HOUR, 4_000, -4_000])
def test_a_clock_that_jumps_alone_before_the_first_keyframe_goes_on_by_itself(step: int, kind: str) -> None:
    """The source's relation is that from before."""
    begun = 2 * HOUR
    original = Clip(seconds=4, start=begun).messages()
    key = next(m for m in original if m.type == VIDEO and m.payload[1] == 1)
    source = [m for m in original if m is not key]  # the next one comes after a second
    out = Output().play(moved(source, after=begun + 500, **{kind: step}))
    relation = out.offsets(source, VIDEO).pop() - out.offsets(source, AUDIO).pop()
    assert abs(relation) <= 45
    assert len(out.pictures) == 75
    assert out.timeline.jumps == 1


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_clocks_that_are_apart_and_then_together_again_regain_their_relation(step: int) -> None:
    """Exactly, not only as their outputs stand."""
    begun = 2 * HOUR
    source = Clip(seconds=6, start=begun).messages()
    out = Output().play(moved(moved(source, after=begun + 2000, audio=step), after=begun + step + 4000, audio=-step))
    assert rises(time for time, _ in out.of(Kind.SOUND))
    late = [m for m in source if m.timestamp > begun + 4500]
    [pictures], [sounds] = out.offsets(late, VIDEO), out.offsets(late, AUDIO)
    assert pictures == sounds


def test_sound_that_is_hours_away_from_the_picture_from_the_start_is_heard() -> None:
    """Its own clock goes on beside the picture's."""
    source = moved(Clip(seconds=3).messages(), after=0, audio=3 * HOUR)
    out = Output().play(source)
    assert len(out.sounds) >= 135
    assert abs(out.sounds[0][0] - out.pictures[0][0]) < 100
    assert len(out.pictures) == 75
    assert out.silences == []


def test_a_small_step_is_no_jump() -> None:
    """1.9 s without anything are a hole, not another clock."""
    source = moved(Clip(seconds=4).messages(), after=2000, video=1900, audio=1900)
    out = Output().play(source)
    assert out.timeline.jumps == 0
    assert out.largest_step() == 1940
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1


def test_a_small_step_back_squeezes_pictures_and_drops_sound() -> None:
    """Half a second that comes again."""
    source = moved(Clip(seconds=4, start=10_000).messages(), after=12_000, video=-500, audio=-500)
    out = Output().play(source)
    assert out.timeline.jumps == 0
    assert rises(time for time, _ in out.pictures)
    assert rises(time for time, _ in out.of(Kind.SOUND))


@pytest.mark.parametrize("border", [2**24, 2**31, 2**32])
def test_clocks_that_pass_a_border_of_their_field_go_on(border: int) -> None:
    """4.66 hours, 24.8 days, 49.7 days."""
    source = Clip(seconds=4, b_frames=2, start=border - 2000).messages()
    out = Output().play(source)
    assert out.timeline.jumps == 0
    assert {later - before for before, later in pairwise(out.shown)} == {40}
    assert out.pictures[-1][0] == 3960


def test_the_output_passes_49_days_and_goes_on() -> None:
    """Its own clock is no 32-bit number."""
    out = Output().play(CLIP)
    out.timeline._video_dts = 2**32 - 1000
    out.timeline._video_end = out.timeline._audio_end = float(2**32 - 960)
    out.timeline._audio_dts = 2**32 - 980
    out.play(replace(CLIP, first_number=100))
    assert out.pictures[-1][0] == 2**32 - 960 + 49 * 40


# -- anything


def any_source(rng: random.Random, first_number: int) -> list[Message]:
    """A sane source, cut anywhere at both ends."""
    frame = rng.choice([40, 40, 1000 / 30, 1000 / 60, 20])
    clip = Clip(
        seconds=rng.uniform(0.3, 3),
        frame=frame,
        gop=rng.choice([13, 25, 31]),
        b_frames=rng.randrange(3),
        rate=rng.choice([48000, 48000, 44100]),
        channels=rng.choice([2, 2, 1]),
        video=rng.random() < 0.9,
        audio=rng.random() < 0.8,
        start=rng.choice([0, 0, rng.randrange(2**32), 2**32 - 1000, 2**24 - 500]),
        late=rng.choice([0, 0, 70, -70, 700]),
        first_number=first_number,
    )
    messages = clip.messages()
    head = [m for m in messages if m.type == DATA or m.payload[1] == 0]
    media = messages[len(head) :]
    return [*head, *media[rng.randrange(30) :][: rng.randint(1, len(messages))]]


@settings(max_examples=300)
@given(st.integers(0, 2**64))
@example(258304)
def test_whatever_sources_follow_each_other(seed: int) -> None:
    """DTS rises strictly per kind, and each source keeps the relation of its sound to its pictures exactly."""
    rng = random.Random(seed)
    out = Output()
    sources = [any_source(rng, 10_000 * at) for at in range(rng.randint(1, 5))]
    for source in sources:
        out.play(source)
        if rng.random() < 0.3 and (end := out.timeline.end) is not None:
            out.timeline.hold(end + rng.uniform(0, 3000))
    assert rises(time for time, _ in out.pictures)
    assert rises(time for time, _ in out.of(Kind.SOUND))
    assert all(cts_of(payload) >= 0 for _, payload in out.pictures)
    for source in sources:
        offsets = {offset % 2**32 for kind in (VIDEO, AUDIO) for offset in out.offsets(source, kind)}
        assert len(offsets) <= 1


@settings(max_examples=200)
@given(st.integers(0, 2**64))
def test_whatever_a_single_source_does(seed: int) -> None:
    """Clocks that jump anywhere, together or alone: DTS rises strictly per kind, nothing is raised."""
    rng = random.Random(seed)
    source = any_source(rng, 0)
    for _ in range(rng.randint(1, 4)):
        at = source[rng.randrange(len(source))].timestamp
        step = rng.choice([HOUR, -HOUR, 3000, -3000, 500, -500, rng.randrange(2**32)])
        kinds = rng.choice([(step, step), (step, 0), (0, step)])
        source = moved(source, after=at, video=kinds[0], audio=kinds[1])
        if rng.random() < 0.3:
            place = rng.randrange(len(source))
            source.insert(place, source[rng.randrange(len(source))])
    out = Output().play(source)
    assert rises(time for time, _ in out.pictures)
    assert rises(time for time, _ in out.of(Kind.SOUND))
