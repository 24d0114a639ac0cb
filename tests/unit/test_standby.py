"""What is kept of a source that is not on air, and where it comes in."""

import math

import pytest

from penstock.media.pace import MAX_LEAD
from penstock.media.packet import AUDIO, DATA, VIDEO, Kind
from penstock.media.standby import Standby
from penstock.media.stream import GOP_BYTES
from tests.packets import AVC_HEADER, AVC_HEADER_720P, aac_header

K, P, S, H = Kind.KEYFRAME, Kind.FRAME, Kind.SOUND, Kind.HEADER
#: A kind and a time in ms.
Sent = tuple[Kind, int]


def give(source: Standby, *messages: Sent, size: int = 0) -> Standby:
    """Let a source send messages of these kinds and times."""
    for kind, time in messages:
        payload = AVC_HEADER if kind is H else bytes(size)
        source.take(AUDIO if kind is S else VIDEO, time % 2**32, payload, kind)
    return source


def burst(*messages: Sent) -> Standby:
    """A source that has sent what its server had kept."""
    return settled(give(Standby(), *messages))


def settled(source: Standby) -> Standby:
    """The same, once that is known."""
    assert any(source.settle() for _ in range(3))
    return source


def comes_in(source: Standby, lead: float, *, opportune: bool = False) -> list[Sent] | None:
    """The media with which a source goes on air; None: it does not now."""
    at = source.entrance(lead, opportune=opportune)
    return None if at is None else [(kind, time) for _, time, _, kind in source.release(at) if kind in (K, P, S)]


def test_a_gop_that_leaves_the_output_in_step_is_taken_from_its_keyframe() -> None:
    """Receivers have a picture at once."""
    source = burst((H, 0), (K, 0), (S, 5), (P, 900), (S, 905))
    assert comes_in(source, lead=0) == [(K, 0), (S, 5), (P, 900), (S, 905)]


def test_a_gop_that_is_too_old_is_not_taken() -> None:
    """The next keyframe will do, and does: it is as new as can be."""
    source = burst((H, 0), (K, 0), (P, 1200))
    assert comes_in(source, lead=0) is None
    assert comes_in(give(source, (P, 1900), (K, 2000)), lead=0) == [(K, 2000)]
    assert comes_in(burst((H, 0), (K, 0), (P, 900)), lead=MAX_LEAD / 2) is None


def test_an_old_gop_is_taken_by_an_output_that_is_behind() -> None:
    """It catches up with the wall."""
    assert comes_in(burst((K, 0), (P, 1500), (P, 3000)), lead=-2500) == [(K, 0), (P, 1500), (P, 3000)]


def test_a_keyframe_that_has_just_come_is_always_taken() -> None:
    """Also by an output that is ahead already: its source's clock was too fast."""
    source = burst((H, 0), (K, 0))
    assert source.entrance(MAX_LEAD + 400) == 0
    assert comes_in(give(source, (P, 40)), lead=MAX_LEAD + 400) is None


def test_the_first_keyframe_that_is_new_enough_is_taken() -> None:
    """Of a server that keeps more than a GOP; clocks may wrap meanwhile."""
    source = burst((K, -2000), (P, -1000), (K, -500), (P, -460), (P, 300))
    assert comes_in(source, lead=0) == [(K, 2**32 - 500), (P, 2**32 - 460), (P, 300)]


def test_what_is_shown_of_the_newest_picture_and_the_one_that_may_come_at_once_count() -> None:
    """A thousand switches that forgot them would be ahead by more than they may."""
    source = burst((H, 0), (K, 0), *((P, time) for time in range(40, 921, 40)))
    assert source.entrance(0) == 0
    assert source.entrance(1) is None


def test_without_pictures_sound_is_taken() -> None:
    """As much of it as there is room for."""
    assert comes_in(burst((S, 0), (S, 1000), (S, 1500)), lead=0) == [(S, 1000), (S, 1500)]


def test_sound_alone_is_no_beginning_where_pictures_are_announced() -> None:
    """They come later, as some servers send them."""
    source = burst((H, 0), (S, 0), (S, 20))
    assert comes_in(source, lead=0) is None
    assert comes_in(give(source, (K, 10), (S, 40)), lead=0) == [(S, 20), (K, 10), (S, 40)]


def test_what_is_no_media_says_nothing_about_time() -> None:
    """A header's time, or that of metadata, may be anything."""
    assert comes_in(burst((H, 99_000), (K, 0), (P, 900), (H, 0)), lead=0) == [(K, 0), (P, 900)]


def test_a_source_comes_in_with_its_headers() -> None:
    """Those in force, each once, also when it has been on air before."""
    source = Standby()
    told = [(DATA, b"meta", Kind.METADATA), (VIDEO, AVC_HEADER, H), (AUDIO, aac_header(48000, 2), H)]
    for type_, payload, kind in told * 2:
        source.take(type_, 0, payload, kind)
    give(source, (K, 0))
    settled(source)
    assert [entry[2] for entry in source.release(source.entrance(0))] == [*(payload for _, payload, _ in told), b""]
    source.take(VIDEO, 40, AVC_HEADER_720P, H)
    give(source, (P, 40))
    source.resume()
    give(source, (P, 80))
    assert source.entrance(0) is None
    give(source, (K, 120))
    told[1] = (VIDEO, AVC_HEADER_720P, H)
    assert [entry[2] for entry in source.release(source.entrance(0))] == [*(payload for _, payload, _ in told), b""]


def test_pictures_of_another_header_are_forgotten() -> None:
    """Nobody could decode them."""
    source = burst((H, 0), (K, 0), (P, 40))
    source.take(VIDEO, 80, AVC_HEADER_720P, H)
    assert source.entrance(-math.inf) is None
    assert comes_in(give(source, (P, 80), (K, 120)), lead=0) == [(K, 120)]


@pytest.mark.parametrize(("gop", "size"), [(11_000, 100), (5_000, GOP_BYTES // 100)], ids=["long", "large"])
def test_no_more_than_the_newest_gop_is_kept_and_none_that_is_too_large(gop: int, size: int) -> None:
    """A source may stand by for weeks."""
    source, most = burst((H, 0), (K, 0)), 0
    for time in range(40, 60_000, 40):
        give(source, (K if time % gop == 0 else P, time), (S, time), size=size)
        most = max(most, source.size)
    assert most <= GOP_BYTES + size
    steady = burst((H, 0), (K, 0))
    for time in range(40, 60_000, 40):
        give(steady, (K if time % 2000 == 0 else P, time), size=100)
        assert steady.size <= 51 * 100


@pytest.mark.parametrize("step", [3_600_000, -3_600_000])
def test_a_jump_of_the_clock_makes_nothing_older(step: int) -> None:
    """It says nothing of when its media was made."""
    source = burst((H, 0), (K, 0), (P, 40), (P, 80 + step))
    assert source.entrance(MAX_LEAD - 150) is None
    assert source.entrance(MAX_LEAD - 170) == 0


def test_what_comes_after_a_pause_may_be_a_backlog() -> None:
    """Its first keyframe is as old as all that comes with it."""
    source = burst((H, 0), (K, 0), (P, 40))
    assert source.unsettle(2000)
    assert not source.unsettle(2000)
    for time in range(2000, 8900, 40):
        give(source, (K if time % 2000 == 0 else P, time))
        assert source.entrance(-math.inf) is None
    assert comes_in(settled(source), lead=0)[0] == (K, 8000)  # type: ignore[index]


def test_a_keyframe_of_the_burst_that_is_over_has_just_come() -> None:
    """A source that always sends so would never come in else, once the output is ahead; an older one is none."""
    source = burst((H, 0), (K, 0), *((P, time) for time in range(40, 281, 40)))
    source.unsettle(300)
    settled(give(source, (P, 320), (P, 360)))
    assert source.entrance(MAX_LEAD, opportune=True) is None
    source.unsettle(300)
    settled(give(source, (P, 640), (K, 680), (P, 720)))
    assert source.entrance(MAX_LEAD) is None
    assert comes_in(source, lead=MAX_LEAD, opportune=True) == [(K, 680), (P, 720)]


def test_sound_that_waits_for_a_keyframe_is_not_kept_for_long() -> None:
    """A source whose pictures never come."""
    source = burst((H, 0), (S, 0))
    for time in range(20, 60_000, 20):
        give(source, (S, time), size=10)
        assert source.size <= 10 * 51


def test_nothing_yet_is_no_entrance() -> None:
    """The source comes in later."""
    source = Standby()
    assert not source.settle()
    assert source.entrance(-math.inf) is None


def test_a_burst_is_over_when_media_comes_no_faster_than_it_plays() -> None:
    """A slow line takes a while for what a server has kept."""
    source = Standby()
    assert not source.settle()
    for at in range(0, 4000, 1000):
        give(source, (K, at), (P, at + 500))
        assert not source.settle()
    give(source, (P, 3540))
    assert source.settle()


@pytest.mark.parametrize("size", [0, GOP_BYTES // 8])
def test_a_burst_without_end_is_not_awaited(size: int) -> None:
    """Neither for ever nor into any size: a source that sends a file as fast as it can is no live one."""
    source = Standby()
    looks = 0
    while not source.settle():
        give(source, (K, 1000 * looks), size=size)
        looks += 1
        assert looks < 30
    assert looks > 8 or size
