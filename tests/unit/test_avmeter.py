"""The A/V meter finds the faults that were planted, and none where there is none."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests import media
from tests.avmeter import Reading, measure
from tests.rtmp_wire import AUDIO, VIDEO, Message, flv_file, flv_tags


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[Iterable[Message]], Reading]:
    """Measures a file of these tags."""

    def measured(tags: Iterable[Message]) -> Reading:
        path = tmp_path / "planted.flv"
        path.write_bytes(flv_file(tags))
        return measure(path)

    return measured


Planted = Callable[[Iterable[Message]], Reading]


def tags(name: str = "plain") -> list[Message]:
    """The tags of a clip."""
    return list(flv_tags(media.clip(name)))


def is_media(tag: Message) -> bool:
    """Whether it is a picture or sound, no header."""
    return tag.type in (AUDIO, VIDEO) and tag.payload[1] != 0


def test_a_sound_clip_reads_as_one() -> None:
    """20 s: all pictures, all flashes with their beeps, no hole, no drift."""
    reading = measure(media.clip("av"))
    assert (len(reading.pictures), len(reading.flashes), len(reading.beeps)) == (500, 20, 20)
    assert reading.picture_gap == pytest.approx(40, abs=0.1)
    assert reading.sound_gap < 1
    assert abs(reading.offset) < 2
    assert max(reading.offsets) - min(reading.offsets) < 1
    assert abs(reading.drift) < 1
    assert reading.errors == []
    assert {round(later - sooner, 3) for sooner, later in pairwise(reading.flashes)} == {1.0}


@pytest.mark.parametrize("shift", [60, -60, 250])
def test_sound_that_is_shifted_reads_as_shifted(planted: Planted, shift: int) -> None:
    """In milliseconds, with its sign: late is positive."""
    shifted = [replace(t, timestamp=t.timestamp + 500 + (shift if t.type == AUDIO else 0)) for t in tags()]
    reading = planted(sorted(shifted, key=lambda tag: tag.timestamp))
    assert reading.offset == pytest.approx(shift, abs=2)
    assert len(reading.offsets) == 6


def test_sound_that_runs_away_reads_as_drift(planted: Planted) -> None:
    """5 ms per second, over the fifteen seconds between the first flashes and the last."""
    slow = [replace(t, timestamp=round(t.timestamp * 1.005)) if t.type == AUDIO else t for t in tags("av")]
    reading = planted(sorted(slow, key=lambda tag: tag.timestamp))
    assert reading.drift == pytest.approx(75, abs=3)


def test_a_hole_is_measured(planted: Planted) -> None:
    """2 s without anything, and what it does to flashes and beeps."""
    holed = [t for t in tags("av") if not is_media(t) or not 5000 <= t.timestamp < 7000]
    reading = planted(holed)
    assert reading.picture_gap == pytest.approx(2040, abs=120)
    assert reading.sound_gap == pytest.approx(2000, abs=25)
    assert (len(reading.flashes), len(reading.beeps)) == (18, 18)
    assert abs(reading.offset) < 2


def test_a_hole_in_the_sound_alone_is_not_one_in_the_picture(planted: Planted) -> None:
    """And the other way round."""
    reading = planted([t for t in tags() if t.type != AUDIO or not is_media(t) or not 3000 <= t.timestamp < 3300])
    assert reading.picture_gap == pytest.approx(40, abs=1)
    assert reading.sound_gap == pytest.approx(300, abs=25)
    reading = planted([t for t in tags() if t.type != VIDEO or not is_media(t) or not 3000 <= t.timestamp < 4000])
    assert reading.picture_gap == pytest.approx(1040, abs=1)
    assert reading.sound_gap < 1


def test_what_is_not_there_is_not_found() -> None:
    """Presence is a count."""
    silent, dark = measure(media.clip("silent")), measure(media.clip("dark"))
    assert (len(silent.flashes), silent.sounds, silent.beeps, silent.offsets) == (6, [], [], [])
    assert (dark.pictures, dark.flashes, len(dark.beeps)) == ([], [], 6)
    assert dark.picture_gap == silent.sound_gap == 0


def test_broken_pictures_are_complained_about(planted: Planted) -> None:
    """FFmpeg's own words."""
    broken = [
        replace(t, payload=t.payload[:200].ljust(len(t.payload), b"\0")) if t.type == VIDEO and is_media(t) else t
        for t in tags()
    ]
    assert planted(broken).errors


def test_a_reading_says_what_it_found() -> None:
    """In a line that a failing test can show."""
    assert str(measure(media.clip("plain"))).startswith("150 pictures, longest 40 ms; longest hole in the sound 0 ms; ")


def test_the_counter_in_the_picture_is_read_back() -> None:
    """Of every picture, in order, in any size."""
    assert media.counters(media.clip("av")) == list(range(500))
    assert media.counters(media.clip("small")) == list(range(180))
    assert media.counters(media.clip("hevc")) == list(range(150))


@pytest.mark.parametrize("width", [16, 160, 640, 1280])
def test_a_picture_without_a_counter_has_none(width: int) -> None:
    """Black and white ones."""
    size = width * width * 9 // 16
    assert media.read_counter(bytes(size)) is None
    assert media.read_counter(b"\xff" * size) is None
