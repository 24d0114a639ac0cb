"""Where a source comes in that follows another, and where its output should end by then."""

import pytest

from penstock.media.pace import MAX_LEAD, Arrival, Pace
from penstock.media.packet import AUDIO, VIDEO, Kind
from penstock.media.stream import GOP_BYTES

K, P, S, H = Kind.KEYFRAME, Kind.FRAME, Kind.SOUND, Kind.HEADER


def arrival(*messages: tuple[Kind, int], size: int = 0) -> Arrival:
    """A source that has sent messages of these kinds and times."""
    found = Arrival()
    for kind, time in messages:
        found.take(AUDIO if kind is S else VIDEO, time % 2**32, bytes(size), kind)
    return found


def test_a_gop_that_leaves_the_output_in_step_is_taken_from_its_keyframe() -> None:
    """Receivers have a picture at once."""
    assert arrival((H, 0), (K, 0), (S, 5), (P, 900), (S, 905)).entrance(lead=0) == 1


def test_a_gop_that_is_too_old_is_not_taken() -> None:
    """The next keyframe will do."""
    assert arrival((H, 0), (K, 0), (P, 1200)).entrance(lead=0) == 3
    assert arrival((H, 0), (K, 0), (P, 900)).entrance(lead=MAX_LEAD / 2) == 3


def test_an_old_gop_is_taken_by_an_output_that_is_behind() -> None:
    """It catches up with the wall."""
    assert arrival((K, 0), (P, 3000)).entrance(lead=-2500) == 0


def test_the_first_keyframe_that_is_new_enough_is_taken() -> None:
    """Of a server that keeps more than a GOP; clocks may wrap meanwhile."""
    assert arrival((K, -2000), (P, -1000), (K, -500), (P, 0), (P, 400)).entrance(lead=0) == 2


def test_without_pictures_sound_is_taken() -> None:
    """As much of it as there is room for."""
    assert arrival((S, 0), (S, 1000), (S, 1500)).entrance(lead=0) == 1


def test_what_is_no_media_says_nothing_about_time() -> None:
    """A header's time, or that of metadata, may be anything."""
    assert arrival((H, 99_000), (K, 0), (P, 900), (H, 0)).entrance(lead=0) == 1


def test_nothing_yet_is_no_entrance() -> None:
    """The source comes in as it comes."""
    assert arrival().entrance(lead=0) == 0


def test_a_burst_is_over_when_media_comes_no_faster_than_it_plays() -> None:
    """A slow line takes a while for what a server has kept."""
    source = arrival()
    assert not source.is_over()
    for at in range(0, 4000, 1000):
        source.take(VIDEO, at, b"", K)
        source.take(VIDEO, at + 500, b"", P)
        assert not source.is_over()
    source.take(VIDEO, 3540, b"", P)
    assert source.is_over()


@pytest.mark.parametrize("size", [0, GOP_BYTES // 8])
def test_a_burst_without_end_is_not_awaited(size: int) -> None:
    """Neither for ever nor into any size: a source that sends a file as fast as it can is no live one."""
    source = arrival()
    looks = 0
    while not source.is_over():
        source.take(VIDEO, 1000 * looks, bytes(size), K)
        looks += 1
        assert looks < 30
    assert looks > 8 or size


def test_the_pace_is_that_of_the_wall_since_the_output_began() -> None:
    """Until it begins anew."""
    pace = Pace()
    assert pace.due(5) is None
    pace.follow(10, 400)
    assert pace.due(13) == 3400
    pace.forget()
    assert pace.due(13) is None


def test_the_pace_does_not_follow_an_output_that_falls_behind() -> None:
    """A few seconds that a source has lost are made good at its next loss."""
    pace = Pace()
    pace.follow(0, 0)
    for at in range(1, 60):
        pace.follow(at, 1000 * at - 3000)
    due = pace.due(60)
    assert due is not None
    assert due == pytest.approx(60_000, abs=100)


@pytest.mark.parametrize("rate", [1.0002, 0.9998])
def test_an_encoder_whose_clock_is_a_little_off_sets_the_pace(rate: float) -> None:
    """After a day it is 17 s away from ours: a loss then must neither wait so long nor skip so much."""
    pace = Pace()
    for at in range(0, 86_400, 10):
        pace.follow(at, 1000 * at * rate)
    due = pace.due(86_400)
    assert due is not None
    assert due == pytest.approx(86_400_000 * rate, abs=50)


def test_an_output_is_never_farther_ahead_than_it_may_be() -> None:
    """Else it would stand still at the next loss: a source has put its clock forward a little."""
    pace = Pace()
    pace.follow(0, 0)
    pace.follow(1, 1000 + 1900)
    assert pace.due(1) == 1000 + 1900 - MAX_LEAD
