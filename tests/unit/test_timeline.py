"""The rules of splicing, each as a fact: what receivers see when sources begin, end and follow each other."""

from dataclasses import replace
from itertools import pairwise

import pytest

from penstock.media.packet import (
    AUDIO,
    DATA,
    DEFAULT_AUDIO_HEADER,
    VIDEO,
    Kind,
)
from penstock.media.silence import SILENT_AAC
from penstock.media.timeline import HEADER_PATIENCE, MAX_EARLY
from tests import packets
from tests.packets import Clip, aac_header, cts_of, number_of
from tests.rtmp_wire import Message, amf
from tests.unit.output import CLIP, SOUND_STEP, Output, is_silence, rises, with_pcm

# -- the first source


def test_the_output_begins_at_zero_with_metadata_and_both_headers() -> None:
    """Whatever the source's clock says."""
    out = Output().play(replace(CLIP, start=987_654_321))
    kinds = [(type_, kind) for type_, _, _, kind in out.entries[:4]]
    assert kinds == [
        (DATA, Kind.METADATA),
        (VIDEO, Kind.HEADER),
        (AUDIO, Kind.HEADER),
        (VIDEO, Kind.KEYFRAME),
    ]
    assert [time for _, time, _, _ in out.entries[:4]] == [0, 0, 0, 0]


def test_a_source_passes_unchanged() -> None:
    """All pictures and sounds, each as far from the first as it was, not a byte changed."""
    source = replace(CLIP, b_frames=2, start=5000).messages()
    out = Output().play(source)
    media = [m for m in source if m.type != DATA and m.payload[1] == 1 and (m.type == VIDEO or m.timestamp >= 5040)]
    sent = [(type_, time + 5000, payload) for type_, time, payload, kind in out.entries if kind > Kind.HEADER]
    assert [entry for entry in sent if not is_silence(entry[2])] == [(m.type, m.timestamp, m.payload) for m in media]
    assert out.timeline.squeezed == out.timeline.jumps == 0


def test_nothing_is_sent_before_a_keyframe() -> None:
    """A picture that nobody could decode is dropped, and its sound too."""
    source = [m for m in CLIP.messages() if not (m.type == VIDEO and m.timestamp == 0 and m.payload[1] == 1)]
    out = Output().play(source)
    assert number_of(out.pictures[0][1]) == 25
    assert out.pictures[0][0] == 0
    assert out.sounds[0][0] < SOUND_STEP


def test_sound_that_came_before_the_keyframe_is_held_and_older_sound_dropped() -> None:
    """A keyframe that comes 300 ms late in the byte stream loses nothing that is heard with it."""
    source = CLIP.messages()
    key = next(m for m in source if m.type == VIDEO and m.timestamp == 0 and m.payload[1] == 1)
    source.remove(key)
    source = [*source[:3], *(m for m in source[3:] if m.timestamp < 300 and m.type == AUDIO), key]
    out = Output().play(source)
    assert [time for time, _ in out.sounds] == [round(at * SOUND_STEP) for at in range(15)]

    later = replace(CLIP, start=1000).messages()
    early = [Message(AUDIO, 1000 - 21 * at, packets.sound(900 + at)) for at in range(10, 0, -1)]
    out = Output().play([*later[:3], *early, *later[3:]])
    assert all(number_of(payload) < 900 for _, payload in out.sounds)
    assert out.timeline.dropped == 10


def test_a_flood_of_sound_before_the_keyframe_is_bounded() -> None:
    """Only the newest are held."""
    head = CLIP.messages()[:3]
    flood = [Message(AUDIO, 20 * at, packets.sound(at)) for at in range(1000)]
    out = Output().play([*head, *flood])
    assert len(out.timeline._early) == MAX_EARLY
    assert out.entries == []


def test_an_audio_header_may_come_after_the_keyframe() -> None:
    """The keyframe waits for it, and no picture is lost."""
    source = CLIP.messages()
    header = next(m for m in source if m.type == AUDIO)
    source.remove(header)
    late = next(at for at, m in enumerate(source) if m.timestamp > HEADER_PATIENCE - 100)
    source.insert(late, header)
    sounds_without_header = [m for m in source[:late] if m.type == AUDIO]
    assert sounds_without_header
    out = Output().play(source)
    assert out.headers == [packets.AVC_HEADER, header.payload]
    assert [number_of(payload) for _, payload in out.pictures] == list(range(50))
    assert len(out.sounds) == 93


def test_a_keyframe_that_waits_is_not_sent_under_a_header_that_comes_later() -> None:
    """The source has changed its size meanwhile."""
    first = replace(CLIP, audio=False).messages()[1:4]
    second = replace(CLIP, start=80, avc_header=packets.AVC_HEADER_720P).messages()
    out = Output().play([*first, *second])
    assert out.headers == [packets.AVC_HEADER_720P, aac_header()]
    assert [number_of(payload) for _, payload in out.pictures] == list(range(50))


def test_a_keyframe_does_not_wait_longer_than_the_patience() -> None:
    """Without metadata nobody knows that there is no sound."""
    source = replace(CLIP, audio=False).messages()[1:]
    out = Output()
    out.timeline.switch()
    for message in source:
        out.play([message], switch=False)
        if out.entries:
            break
    assert HEADER_PATIENCE <= message.timestamp <= HEADER_PATIENCE + 40
    assert [number_of(payload) for _, payload in out.pictures] == list(range(14))


def test_metadata_that_names_no_sound_spares_the_waiting() -> None:
    """FFmpeg and OBS say what comes."""
    source = replace(CLIP, audio=False).messages()
    out = Output().play(source[:3])
    assert len(out.pictures) == 1


# -- both tracks from the first packet


def test_a_source_without_sound_gets_a_silent_track_from_its_first_packet() -> None:
    """Stereo at 48 kHz, in step with the picture."""
    out = Output().play(replace(CLIP, audio=False))
    assert out.headers == [packets.AVC_HEADER, DEFAULT_AUDIO_HEADER]
    assert abs(out.silences[-1] - out.pictures[-1][0]) <= 40
    assert out.largest_sound_step() <= 22


def test_sound_that_appears_later_takes_the_place_of_silence() -> None:
    """Under the same header nothing breaks."""
    out = Output().play(replace(CLIP, audio=False)).play(replace(CLIP, first_number=100))
    assert out.breaks == []
    assert out.headers == [packets.AVC_HEADER, DEFAULT_AUDIO_HEADER]
    assert len(out.sounds) >= 90
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1


def test_a_source_without_sound_in_the_middle_is_filled_under_the_header_in_force() -> None:
    """Mono stays mono."""
    mono = replace(CLIP, channels=1)
    out = Output().play(mono).play(replace(CLIP, audio=False, first_number=100)).play(replace(mono, first_number=200))
    assert out.headers == [packets.AVC_HEADER, aac_header(channels=1)]
    assert {payload[2:] for _, payload in out.of(Kind.SOUND) if is_silence(payload)} == {SILENT_AAC[1]}
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1


def test_announced_sound_that_fails_to_come_is_filled_one_second_behind() -> None:
    """It has a second to arrive late; then silence keeps the track alive."""
    source = [m for m in replace(CLIP, seconds=5).messages() if m.type != AUDIO or m.payload[1] == 0]
    out = Output().play(source)
    assert 960 <= out.pictures[-1][0] - out.silences[-1] <= 1040


def test_sound_of_a_codec_without_header_is_not_announced_as_aac() -> None:
    """PCM has no header; silence is not made for it, and is not needed."""
    out = Output().play(with_pcm(CLIP))
    assert out.headers == [packets.AVC_HEADER]
    assert {payload[0] for _, payload in out.of(Kind.SOUND)} == {0x3F}


def test_a_source_without_pictures_begins_on_its_first_sound() -> None:
    """If its metadata says that there are none."""
    out = Output().play(replace(CLIP, video=False, start=7000))
    assert out.headers == [aac_header()]
    assert out.sounds[0][0] == 0
    assert len(out.sounds) == 93


def test_without_metadata_pictures_are_awaited_for_some_seconds() -> None:
    """Then the sound goes out alone."""
    out = Output().play(replace(CLIP, video=False, seconds=8).messages()[1:])
    assert out.sounds
    assert out.sounds[0][0] == 0


def test_a_source_without_pictures_follows_one_that_had_them() -> None:
    """The picture stands still, the sound goes on where everything ended."""
    out = Output().play(CLIP).play(replace(CLIP, video=False, first_number=100))
    assert out.pictures[-1][0] == 1960
    assert rises(time for time, _ in out.of(Kind.SOUND))
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1
    assert max(time for time, _ in out.sounds) > 3900


# -- without a source


def test_silence_holds_the_output_until_a_source_is_back() -> None:
    """5 s without a source; the picture comes back where the silence ended."""
    out = Output().play(CLIP)
    for until in range(2000, 7001, 250):
        out.timeline.hold(until)
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1
    assert 6960 <= out.silences[-1] + SOUND_STEP <= 7000 + SOUND_STEP
    out.play(replace(CLIP, first_number=100))
    first = next(time for time, payload in out.pictures if number_of(payload) == 100)
    assert abs(first - 7000) <= SOUND_STEP
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1


def test_holding_an_output_that_never_began_does_nothing() -> None:
    """There is no header to be silent under."""
    out = Output()
    out.timeline.hold(5000)
    assert out.entries == []


def test_no_call_makes_more_than_ten_seconds_of_silence() -> None:
    """A clock that ran away costs a bounded burst."""
    out = Output().play(CLIP)
    out.timeline.hold(36_000_000)
    assert len(out.silences) <= 10_000 / SOUND_STEP + 1
    assert rises(time for time, _ in out.of(Kind.SOUND))


# -- from source to source

SHAPES = [
    Clip(),
    Clip(b_frames=2),
    Clip(b_frames=1),
    Clip(seconds=62 / 30, frame=1000 / 30, gop=31, b_frames=2),
    Clip(frame=1000 / 60, gop=60),
    Clip(late=70),
    Clip(late=-70),
]


@pytest.mark.parametrize("second", SHAPES)
@pytest.mark.parametrize("first", SHAPES)
def test_the_next_source_follows_without_a_hole_and_keeps_its_own_relation(first: Clip, second: Clip) -> None:
    """One offset moves its pictures and sounds alike; the picture goes on within a frame, the sound is filled."""
    second = replace(second, first_number=1000, start=123_456)
    source = second.messages()
    out = Output().play(first).play(source)
    assert len(out.offsets(source, VIDEO)) == 1
    assert out.offsets(source, AUDIO) == out.offsets(source, VIDEO)
    assert out.largest_step() <= max(first.frame, second.frame) + 2
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1
    assert rises(time for time, _ in out.pictures)
    assert rises(time for time, _ in out.of(Kind.SOUND))


def test_a_splice_into_b_frames_squeezes_dts_and_leaves_the_pictures_where_they_are() -> None:
    """The DTS that would go back follows 1 ms after the one before, the composition time takes up the difference."""
    out = Output().play(CLIP).play(replace(CLIP, b_frames=2, first_number=100))
    before, key = out.pictures[49], out.pictures[50]
    assert key[0] - before[0] == 1
    assert cts_of(key[1]) == 39
    assert {later - sooner for sooner, later in pairwise(out.shown)} == {40}
    assert out.timeline.squeezed == 1


def test_a_source_cut_inside_its_b_frames_goes_on_after_its_last_picture() -> None:
    """One picture may be missing, none is shown twice."""
    cut = [m for m in replace(CLIP, b_frames=2).messages() if m.timestamp < 1900]
    for tail in range(1, 5):
        out = Output().play(cut[: len(cut) - tail]).play(replace(CLIP, b_frames=2, first_number=100))
        assert rises(out.shown)
        assert out.largest_step() <= 120


def test_a_long_tail_of_old_sound_is_played_out_while_the_picture_holds() -> None:
    """More than a second of it; the new source begins where it ends."""
    tail = [m for m in replace(CLIP, seconds=5).messages() if m.type == AUDIO or m.timestamp < 2000]
    out = Output().play(tail).play(replace(CLIP, first_number=1000))
    first = next(time for time, payload in out.pictures if number_of(payload) == 1000)
    assert 4960 <= first <= 5000
    assert all(number in {number_of(payload) for _, payload in out.sounds} for number in range(234))


def test_a_short_tail_of_old_sound_overlaps_and_the_new_sound_is_trimmed() -> None:
    """Up to a second: the picture goes on at once."""
    tail = [m for m in replace(CLIP, seconds=2.5).messages() if m.type == AUDIO or m.timestamp < 2000]
    out = Output().play(tail).play(replace(CLIP, first_number=1000))
    assert out.largest_step() == 40
    first = min(number_of(payload) for _, payload in out.sounds if number_of(payload) >= 1000)
    assert first == 1000 + 23
    assert rises(time for time, _ in out.of(Kind.SOUND))


def test_a_hole_in_the_sound_is_filled_with_silence_and_what_follows_stays_in_place() -> None:
    """2 s without sound inside a source."""
    source = [m for m in replace(CLIP, seconds=6).messages() if m.type == VIDEO or not 2000 <= m.timestamp < 3900]
    out = Output().play(source)
    assert out.offsets(source, AUDIO) == {0}
    assert out.largest_sound_step() <= 2.5 * SOUND_STEP + 1
    assert 85 <= len(out.silences) <= 91


def test_headers_are_sent_once_as_long_as_they_stay_the_same() -> None:
    """A source that comes back and one that repeats its headers all the time."""
    chatty = [m for m in CLIP.messages() for m in ([*CLIP.messages()[:3], m] if m.timestamp % 1000 == 0 else [m])]
    out = Output().play(chatty).play(CLIP).play(CLIP)
    assert out.headers == [packets.AVC_HEADER, aac_header()]
    assert len(out.of(Kind.METADATA)) == 1


def test_a_changed_picture_size_is_announced_right_before_its_first_keyframe() -> None:
    """At the keyframe's own time; the connection stays."""
    other = Clip(avc_header=packets.AVC_HEADER_720P, first_number=100)
    out = Output().play(CLIP).play(other)
    at = next(at for at, entry in enumerate(out.entries) if entry[2] == packets.AVC_HEADER_720P)
    _, time, _, _ = out.entries[at]
    _, key_time, key, kind = next(entry for entry in out.entries[at + 1 :] if entry[0] == VIDEO)
    assert (kind, number_of(key), key_time) == (Kind.KEYFRAME, 100, time)
    assert out.breaks == []


def test_metadata_goes_out_again_with_a_changed_header() -> None:
    """Late joiners read it."""
    other = [Message(DATA, 0, packets.metadata(width=1280.0)), *Clip(avc_header=packets.AVC_HEADER_720P).messages()[1:]]
    out = Output().play(CLIP).play(other)
    assert [payload for _, payload in out.of(Kind.METADATA)][1] == other[0].payload


def test_script_data_passes_at_the_place_where_the_output_is() -> None:
    """Cue points and captions; none before the first picture."""
    cue = Message(DATA, 1, amf("onCuePoint", {"name": "ad"}))
    out = Output().play([cue, *CLIP.messages(), cue])
    assert [(time, payload) for time, payload in out.of(Kind.SCRIPT)] == [(2000, cue.payload)]
