"""Playlists as their receivers get them: real files from a real server, read by real children, and measured."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.media.files.order import Place
from penstock.media.packet import AUDIO, VIDEO, Kind, aac_config, codec_name
from penstock.media.plan import Playlist, Position
from tests import avmeter
from tests.file_server import Fault
from tests.media import counters, ffmpeg_exe, file
from tests.packets import Clip
from tests.rtmp_peer import Origin
from tests.unit.playing import Playing, playing

#: Pictures for 5 s, sound for 0.3 s more.
LONGER_SOUND = file("longer")
PICTURES = 125


def playlist(stage: Playing, *names: str, rounds: int | None = 1, **changes: object) -> Playlist:
    """One of these files."""
    return replace(Playlist(id="source", urls=tuple(map(stage.server.url, names)), rounds=rounds), **changes)


def step(times: list[int]) -> int:
    """The longest, in ms."""
    return max(later - sooner for sooner, later in pairwise(times))


async def test_a_loop_neither_freezes_nor_drifts(tmp_path: Path) -> None:
    """Sound that is 0.3 s longer than the picture; FFmpeg's own loop freezes for 0.36 s each time."""
    async with playing({"a": LONGER_SOUND}) as stage:
        stage.start(playlist(stage, "/a.mp4", rounds=24))
        assert await stage.ended() == "The source has delivered all there was."
    reading = await asyncio.to_thread(avmeter.measure, stage.write(tmp_path / "out.flv"))
    assert reading.errors == []
    assert stage.in_order
    assert len(reading.pictures) == 24 * PICTURES
    assert reading.picture_gap < 41
    assert reading.pictures[-1] - reading.pictures[0] == pytest.approx((24 * PICTURES - 1) / 25, abs=0.05)
    assert len(reading.offsets) == len(reading.beeps) == 120
    assert abs(reading.drift) < 10
    assert max(reading.offsets) - min(reading.offsets) < 10
    assert stage.names("alarm") == []


async def test_a_short_file_is_read_once_for_many_rounds(tmp_path: Path) -> None:
    """A hundred rounds of one picture take no hundred children."""
    await remux(file("plain"), short := tmp_path / "short.mp4", "-t", "0.04")
    async with playing({"a": short}) as stage:
        stage.start(playlist(stage, "/a.mp4", rounds=100))
        await stage.ended()
    assert len(stage.times()) == 100
    assert step(stage.times()) <= 65  # its sound says so
    assert len(stage.server.requests) < 10


async def test_unlike_files_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    """Another size, rate and depth of B-frames pass; sound of another kind is made like the first file's."""
    files = {name: file(name) for name in ("plain", "small", "44k", "mono", "silent")}
    async with playing({"av": file("av", seconds=4), **files}) as stage:
        stage.start(playlist(stage, *(f"/{name}.mp4" for name in ("av", *files)), rounds=2))
        await stage.ended()
    reading = await asyncio.to_thread(avmeter.measure, stage.write(tmp_path / "out.flv"))
    assert reading.errors == []
    assert stage.in_order
    assert reading.picture_gap < 81
    assert reading.pictures[-1] == pytest.approx(68, abs=0.3)
    assert max(map(abs, reading.offsets)) < 10
    headers = {
        aac_config(payload) for type_, _, payload, kind in stage.entries if (type_, kind) == (AUDIO, Kind.HEADER)
    }
    assert headers == {(48000, 2)}
    told = stage.told("file.converted")
    assert len(told) == 2
    assert "44100 Hz" in told[0]
    assert "48000 Hz 1 ch" in told[1]


async def test_a_codec_that_differs_is_made_like_the_first_file_s(tmp_path: Path) -> None:
    """Unless the setting forbids it."""
    async with playing({"a": file("plain"), "b": file("hevc")}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/b.mp4"))
        await stage.ended()
    codecs = {codec_name(type_, payload) for type_, _, payload, kind in stage.entries if kind is Kind.HEADER}
    assert codecs == {"h264", "aac"}
    assert "from h264 to hevc" in stage.told("file.converted")[0]
    assert counters(stage.write(tmp_path / "out.flv")) == [*range(150), *range(150)]
    async with playing({"a": file("plain"), "b": file("hevc")}, transcode=False) as stage:
        stage.start(playlist(stage, "/a.mp4", "/b.mp4"))
        await stage.ended()
    assert "hevc" in {codec_name(type_, payload) for type_, _, payload, kind in stage.entries if kind is Kind.HEADER}


async def test_files_of_all_formats_are_played(tmp_path: Path) -> None:
    """MP4, FLV, MPEG-TS; each picture of each arrives."""
    files = {f"{ending}file": file("plain", ending) for ending in ("mp4", "flv", "ts")}
    async with playing({**files}) as stage:
        stage.start(playlist(stage, "/mp4file.mp4", "/flvfile.flv", "/tsfile.ts"))
        await stage.ended()
    assert counters(stage.write(tmp_path / "out.flv")) == 3 * list(range(150))
    assert stage.names() == 3 * ["file.started", "file.finished"]


async def test_sound_alone_and_pictures_alone_are_played() -> None:
    """Pictures get silence, so that both tracks are there."""
    async with playing({"dark": file("dark"), "silent": file("silent")}) as stage:
        stage.start(playlist(stage, "/dark.mp4", rounds=2))
        await stage.ended()
        assert stage.times(VIDEO) == []
        assert stage.times(AUDIO)[-1] == pytest.approx(12_000, abs=150)
    async with playing({"silent": file("silent")}) as stage:
        stage.start(playlist(stage, "/silent.mp4", rounds=2))
        await stage.ended()
    assert (len(stage.times(VIDEO)), step(stage.times(VIDEO))) == (300, 40)
    assert step(stage.times(AUDIO)) <= 22


BAD = {
    "an HTML page": (b"<html><body>Please pay first.</body></html>" * 50, "no media file"),
    "nothing": (b"", "no media file"),
    "a file that breaks off before its index": (file("plain").read_bytes()[:30_000], "moov atom not found"),
    "text": (b"#" * 4000, "no media file"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_file_is_skipped_with_an_alarm(tmp_path: Path, what: str) -> None:
    """The files around it follow each other as if it was not there."""
    content, why = BAD[what]
    (bad := tmp_path / "bad.mp4").write_bytes(content)
    async with playing({"a": file("plain"), "bad": bad}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/bad.mp4", "/missing.mp4", "/a.mp4"))
        await stage.ended()
    first, second = stage.told("alarm.PullFileFailed")
    assert first.startswith("file 2 ")
    assert why in first
    assert "404" in second
    assert len(stage.times()) == 300
    assert step(stage.times()) == 40


async def test_a_file_that_breaks_off_is_told_of_and_the_next_one_follows(tmp_path: Path) -> None:
    """An MP4 file whose index says that there should be more."""
    whole = tmp_path / "whole.mp4"
    await remux(file("plain"), whole, "-movflags", "+faststart")
    (bad := tmp_path / "bad.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    async with playing({"a": file("plain"), "bad": bad}) as stage:
        stage.start(playlist(stage, "/bad.mp4", "/a.mp4"))
        await stage.ended()
    (told,) = stage.told("alarm.FileEndEarly")
    assert told.startswith("file 1 ")
    assert step(stage.times()) <= 80
    assert 160 < len(stage.times()) < 290


FAULTS = {
    "ignores ranges": Fault(no_ranges=True),
    "says a length that is too great": Fault(length_off=5000),
    "breaks off again and again": Fault(breaks_after=40_000),
    "is late": Fault(late=1.5),
}


@pytest.mark.parametrize("what", FAULTS)
async def test_a_server_that_does_badly_stops_nothing(tmp_path: Path, what: str) -> None:
    """What it sends in the end is played whole, and the next file follows."""
    whole = tmp_path / "whole.mp4"
    await remux(file("plain"), whole, "-movflags", "+faststart")
    async with playing({"bad": whole, "a": file("plain")}) as stage:
        stage.server.faults["/bad.mp4"] = FAULTS[what]
        stage.start(playlist(stage, "/a.mp4", "/bad.mp4", "/a.mp4"))
        await stage.ended()
    assert stage.names("alarm") == []
    assert counters(stage.write(tmp_path / "out.flv")) == 3 * list(range(150))


async def test_all_files_bad_is_said_and_raises_no_storm() -> None:
    """Which ones, and why; whoever runs the playlist again decides when."""
    async with playing({}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/b.mp4", "/c.mp4", "/d.mp4", rounds=None))
        reason = await stage.ended()
    assert reason.startswith("no file can be played: file 1 (http://127.0.0.1:")
    assert "404" in reason
    assert reason.endswith("; and 1 more")
    assert len(stage.server.requests) == 4


async def test_a_bad_file_at_the_very_end_ends_the_list() -> None:
    """There is nothing after it."""
    async with playing({"a": file("plain", seconds=1)}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/missing.mp4", rounds=2))
        assert await stage.ended() == "The source has delivered all there was."
    assert stage.names("file.") == 2 * ["file.started", "file.finished"]


async def test_it_begins_at_the_keyframe_before_the_place_that_was_named(tmp_path: Path) -> None:
    """Here each second has one. The first round alone begins there."""
    async with playing({"a": file("av"), "b": file("plain")}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/b.mp4", start=Position(item=0, offset_ms=12_600)))
        await stage.until(stage.times)
        progress = stage.player.progress if stage.player else None
        assert progress is not None
        assert progress.place.item == 0
        assert progress.duration_ms == pytest.approx(20_000, abs=50)
        assert progress.place.offset_ms == pytest.approx(12_600, abs=1000)
        await stage.ended()
    assert counters(stage.write(tmp_path / "out.flv")) == [*range(300, 500), *range(150)]


async def test_another_list_comes_at_once_without_a_gap(tmp_path: Path) -> None:
    """The old one plays on until the new one is ready."""
    async with playing({"a": file("plain"), "b": file("silent")}) as stage:
        stage.server.faults["/b.mp4"] = Fault(late=0.3)
        stage.start(playlist(stage, "/a.mp4", rounds=None))
        await stage.until(lambda: len(stage.times()) > 50)
        assert stage.player is not None
        stage.player.change(playlist(stage, "/b.mp4"))
        await stage.ended()
    assert step(stage.times()) <= 80
    seen = counters(stage.write(tmp_path / "out.flv"))
    assert seen[-150:] == list(range(150))
    assert seen[:50] == list(range(50))


async def test_another_list_may_wait_for_the_end_of_the_file(tmp_path: Path) -> None:
    """Nothing of the old list follows."""
    async with playing({"a": file("plain"), "b": file("av", seconds=2)}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/a.mp4", "/a.mp4", rounds=None))
        await stage.until(stage.times)
        assert stage.player is not None
        stage.player.change(playlist(stage, "/b.mp4", finish=True))
        await stage.ended()
    assert counters(stage.write(tmp_path / "out.flv")) == [*range(150), *counters(file("av", seconds=2))]


async def test_where_it_is_is_always_known() -> None:
    """The file, the time in it, the rounds, and what follows."""
    async with playing({"a": file("plain"), "b": file("av", seconds=4)}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/b.mp4", rounds=2))
        await stage.until(lambda: len(stage.told("file.started")) == 3)
        await stage.until(lambda: stage.times()[-1] > 12_000)
        progress = stage.player.progress if stage.player else None
        assert progress is not None
        assert progress.place[:2] == (1, 0)
        assert progress.place.offset_ms == pytest.approx(stage.times()[-1] - 10_000, abs=150)
        assert (progress.url, progress.next_url) == (stage.server.url("/a.mp4"), stage.server.url("/b.mp4"))
        await stage.until(lambda: len(stage.told("file.started")) == 4)
        progress = stage.player.progress if stage.player else None
        assert progress is not None
        assert progress.next_url == ""
        await stage.ended()
        assert stage.player is not None
        assert stage.player.progress is None


async def test_a_copy_on_this_machine_outlives_the_server(tmp_path: Path) -> None:
    """It is made while the file is played for the first time."""
    async with playing({"a": file("av")}, copies=tmp_path / "copies") as stage:
        stage.start(playlist(stage, "/a.mp4", local=True, rounds=3))
        await stage.until(lambda: len(stage.told("file.started")) > 1 and list((tmp_path / "copies").glob("*.mp4")))
        stage.server.files.clear()
        await stage.ended()
    assert stage.names("alarm") == []
    assert counters(stage.write(tmp_path / "out.flv")) == 3 * list(range(500))


async def test_a_file_that_stalls_is_taken_up_where_it_was(tmp_path: Path) -> None:
    """Silence takes its place for 3 s; then whoever runs the playlist may show something else, and try again."""
    whole = tmp_path / "whole.mp4"
    await remux(file("av"), whole, "-movflags", "+faststart")
    async with playing({"a": whole}) as stage:
        stage.server.faults["/a.mp4"] = Fault(stalls_after=whole.stat().st_size // 2)
        stage.start(playlist(stage, "/a.mp4"))
        await stage.until(lambda: len(stage.times()) > 200)
        stage.patient = False
        assert "brings nothing more" in await stage.ended()
        assert step(stage.times(AUDIO)) <= 22
        seen = len(stage.times())
        stage.server.faults.clear()
        stage.patient = True
        stage.again()
        await stage.until(lambda: len(stage.ends) == 2)
    (told,) = stage.told("alarm.PullFileUnstable")
    assert told.startswith("file 1 ")
    assert seen == pytest.approx(250, abs=60)
    before, after = (counters(stage.write(tmp_path / "out.flv"))[part] for part in (slice(seen), slice(seen, None)))
    assert before == list(range(seen))
    assert after[0] in range(seen - 30, seen + 1)
    assert after == list(range(after[0] or 0, 500))


async def test_it_goes_on_where_an_earlier_run_was(tmp_path: Path) -> None:
    """At the keyframe before; the rounds are counted on."""
    async with playing({"a": file("plain"), "b": file("av")}) as stage:
        stage.start(playlist(stage, "/a.mp4", "/b.mp4", rounds=3), Place(2, 1, 17_300))
        await stage.ended()
    assert counters(stage.write(tmp_path / "out.flv")) == list(range(425, 500))


async def test_an_address_that_is_refused_is_skipped() -> None:
    """The network policy has the last word, for every file."""
    async with playing({"a": file("plain")}) as stage:
        urls = ("http://10.0.0.1/a.mp4", stage.server.url("/a.mp4"))
        stage.start(Playlist(id="source", urls=urls, rounds=1))
        await stage.ended()
    (told,) = stage.told("alarm.PullFileFailed")
    assert "address 10.0.0.1 is not public" in told
    assert len(stage.times()) == 150


async def test_the_last_picture_stands_as_long_as_the_container_says(tmp_path: Path) -> None:
    """Where the frame rate varies. Otherwise each round would be too short."""
    slides = tmp_path / "slides.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=0.16,setpts='(N*0.5+(N*N)*0.1)/TB'", "-fps_mode", "vfr"]
    sound = ["-f", "lavfi", "-i", "sine=d=5"]
    await make(*picture[:4], *sound, "-c:v", "libx264", *picture[4:], "-bf", "0", "-c:a", "aac", str(slides))
    async with playing({"a": slides}) as stage:
        stage.start(playlist(stage, "/a.mp4", rounds=4))
        await stage.ended()
    times = stage.times()
    assert len(times) == 16
    assert times[4] - times[0] == pytest.approx(5000, abs=60)
    assert times[12] - times[0] == pytest.approx(15_000, abs=180)
    assert step(stage.times(AUDIO)) <= 45


async def test_codecs_that_cannot_be_published_are_converted(tmp_path: Path) -> None:
    """What no RTMP server takes, from the first file on."""
    old = tmp_path / "old.ts"
    await make("-i", str(file("plain")), "-c:v", "mpeg2video", "-c:a", "mp2", str(old))
    async with playing({"a": old}) as stage:
        stage.start(playlist(stage, "/a.ts"))
        await stage.ended()
    codecs = {codec_name(type_, payload) for type_, _, payload, kind in stage.entries if kind is Kind.HEADER}
    assert codecs == {"h264", "aac"}
    assert "mpeg2video and mp2" in stage.told("file.converted")[0]
    assert counters(stage.write(tmp_path / "out.flv"))[:140] == list(range(140))


async def test_a_live_source_may_stand_between_files() -> None:
    """It is played until its server ends it, at its own pace."""
    async with playing({"a": file("plain")}) as stage, Origin(Clip(seconds=2).messages()) as origin:
        stage.patient = True
        stage.start(Playlist(id="source", urls=(origin.url, stage.server.url("/a.mp4")), rounds=1))
        await stage.until(lambda: len(stage.times()) > 20)
        await asyncio.sleep(1.5)
        origin.end()
        await stage.ended()
    assert stage.names("alarm") == []
    assert stage.names() == 2 * ["file.started", "file.finished"]


async def make(*arguments: str) -> None:
    """Run FFmpeg."""
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments]
    assert await (await asyncio.create_subprocess_exec(*command)).wait() == 0


async def remux(source: Path, target: Path, *options: str) -> None:
    """Write a file anew, copying."""
    await make("-i", str(source), "-c", "copy", *options, str(target))
