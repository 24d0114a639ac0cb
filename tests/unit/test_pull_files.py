"""Tasks of files: what may be asked for, what a worker plays, and what is said about it."""

from typing import Any

import pytest

from penstock.errors import InvalidField, InvalidSourceUrl, Refused
from penstock.log import mask_url
from penstock.media.plan import Playlist, Position
from penstock.tasks.families import pull, pull_rules
from penstock.tasks.families.pull import PullChange, PullSpec
from penstock.tasks.model import Observed, Playback, State
from tests.unit.making import DAY, HOUR, NOW, make_spec, make_task, observe

FILES = tuple(f"https://media.example/{name}.mp4?key=s3cret{name}" for name in "abc")


def files(**fields: Any) -> PullSpec:
    """Three files, but for what is given."""
    return make_spec(**{"source_type": "PullVodPushLive", "source_urls": FILES} | fields)


def playlist(spec: PullSpec, **row: Any) -> Playlist:
    """What a worker plays."""
    [source] = pull.plan(make_task(spec=pull.encode(spec), **row)).sources
    assert isinstance(source, Playlist)
    return source


def refusal(spec: PullSpec) -> Refused:
    with pytest.raises(Refused) as raised:
        pull_rules.check(spec)
    return raised.value


class TestRules:
    """What Create and Modify may carry."""

    @pytest.mark.parametrize(
        "url",
        [
            "http://h/a.mp4",
            "https://h/a.flv",
            "https://h/a.m3u8",
            "http://h/a.ts",
            "rtmp://h/live/a",
            "rtmps://h/live/a",
            "rtsp://h/a",
            "srt://h:9000",
        ],
    )
    def test_every_protocol_may_stand_among_files(self, url: str) -> None:
        pull_rules.check(files(source_urls=(*FILES, url)))

    def test_up_to_30_files_are_taken(self) -> None:
        pull_rules.check(files(source_urls=FILES * 10))
        error = refusal(files(source_urls=(*FILES * 10, FILES[0])))
        assert isinstance(error, InvalidSourceUrl)
        assert "PullVodPushLive takes 1 to 30 URLs" in error.message
        assert isinstance(refusal(files(source_urls=())), InvalidSourceUrl)

    def test_bad_url_is_named_by_its_place_and_not_repeated(self) -> None:
        error = refusal(files(source_urls=(*FILES, "file:///etc/hush")))
        assert isinstance(error, InvalidSourceUrl)
        assert error.message.startswith("SourceUrls.3: its protocol is none of")
        assert "hush" not in error.message

    def test_every_address_is_asked_about(self) -> None:
        addresses = pull_rules.source_addresses(files(source_urls=("http://a:8000/x.mp4", "https://b/y.flv")))
        assert addresses == [("a", 8000), ("b", None)]

    @pytest.mark.parametrize(
        ("fields", "complaint"),
        [
            ({"file_index": 4}, "FileIndex must be 1 to 3"),
            ({"file_index": 0}, "FileIndex must be 1 to 3"),
            ({"offset_time": 5}, "OffsetTime must come with FileIndex"),
        ],
    )
    def test_place_that_is_not_in_the_list_is_refused(self, fields: dict[str, int], complaint: str) -> None:
        error = refusal(files(**fields))
        assert isinstance(error, InvalidField)
        assert complaint in error.message

    @pytest.mark.parametrize("half", [PullChange(file_index=1), PullChange(offset_time=0)])
    def test_change_names_a_whole_place_or_none(self, half: PullChange) -> None:
        with pytest.raises(InvalidField, match="must come with"):
            pull_rules.check_change(half)
        pull_rules.check_change(PullChange(file_index=1, offset_time=0))
        pull_rules.check_change(PullChange())


class TestPlan:
    """What a worker plays."""

    def test_files_are_one_source(self) -> None:
        assert playlist(files()) == Playlist(id="source", urls=FILES)

    @pytest.mark.parametrize(("times", "rounds"), [(-1, None), (0, 1), (1, 1), (3, 3)])
    def test_loop_times_are_rounds(self, times: int, rounds: int | None) -> None:
        assert playlist(files(vod_loop_times=times)).rounds == rounds

    def test_first_round_begins_where_create_says(self) -> None:
        assert playlist(files(file_index=2, offset_time=7)).start == Position(item=1, offset_ms=7000)
        assert playlist(files(file_index=3)).start == Position(item=2)

    def test_place_of_create_is_void_for_a_task_that_starts_more_than_a_day_later(self) -> None:
        spec = files(file_index=2, offset_time=7)
        assert playlist(spec, start_at=NOW + DAY - HOUR, created_at=NOW - HOUR).start == Position(
            item=1, offset_ms=7000
        )
        assert playlist(spec, start_at=NOW + DAY, created_at=NOW - 1).start == Position()

    def test_refresh_type_and_local_mode_are_handed_on(self) -> None:
        assert playlist(files(vod_refresh_type="ContinueBreakPoint", vod_local_mode=1)).finish
        assert playlist(files(vod_refresh_type="ContinueBreakPoint", vod_local_mode=1)).local
        assert not playlist(files(vod_refresh_type="ImmediateNewSource")).finish


class TestChange:
    """What Modify and Restart do to what is played."""

    def test_another_place_is_gone_to_also_a_day_later(self) -> None:
        spec = pull.apply(files(), PullChange(file_index=3, offset_time=60))
        changed = playlist(spec, start_at=NOW + 5 * DAY, created_at=NOW)
        assert (changed.start, changed.moved) == (Position(item=2, offset_ms=60_000), 1)
        assert playlist(pull.apply(spec, PullChange(file_index=3, offset_time=60))).moved == 2

    def test_other_files_begin_with_their_first(self) -> None:
        spec = pull.apply(files(file_index=3, offset_time=5), PullChange(source_urls=FILES[:1]))
        pull_rules.check(spec)
        assert playlist(spec) == Playlist(id="source", urls=FILES[:1])

    def test_same_files_change_nothing(self) -> None:
        spec = files(file_index=3, offset_time=5)
        assert pull.apply(spec, PullChange(source_urls=FILES)) == spec

    def test_restart_goes_on_or_starts_over_by_the_refresh_type(self) -> None:
        going_on = files(file_index=3, offset_time=5, vod_refresh_type="ContinueBreakPoint")
        assert playlist(pull.restarted(going_on)) == playlist(going_on)
        for refresh_type in ("", "ImmediateNewSource"):
            over = playlist(pull.restarted(files(file_index=3, offset_time=5, vod_refresh_type=refresh_type)))
            assert (over.start, over.moved) == (Position(), 1)
        assert playlist(pull.restarted(going_on, over=True)).moved == 1


class TestStatus:
    """What is said about it."""

    def status(self, spec: PullSpec, playback: Playback | None, now: int = NOW, **observed: Any) -> pull.RunStatus:
        fields = {"epoch": 3} | observed
        seen = observe(1, fields.pop("epoch"), playback=playback, **fields)
        return pull.run_status(make_task(spec=pull.encode(spec)), spec, seen, now)

    def playback(self, **fields: Any) -> Playback:
        """In the second of three files, in the third round."""
        values: dict[str, Any] = {
            "item": 1,
            "url": mask_url(FILES[1]),
            "offset_ms": 12_900,
            "duration_ms": 59_600,
            "rounds": 2,
            "next_url": mask_url(FILES[2]),
        }
        return Playback(**values | fields)

    def test_place_is_told_with_the_callers_own_urls(self) -> None:
        status = self.status(files(), self.playback())
        assert (status.active, status.file_url, status.next_file_url) == (True, FILES[1], FILES[2])
        assert (status.offset_s, status.duration_s, status.looped, status.report_at) == (12, 60, 2, NOW)

    def test_last_file_is_followed_by_the_first_or_by_nothing(self) -> None:
        last = {"item": 2, "url": mask_url(FILES[2])}
        assert self.status(files(), self.playback(**last, next_url=mask_url(FILES[0]))).next_file_url == FILES[0]
        assert self.status(files(), self.playback(**last, next_url="")).next_file_url == ""

    def test_equal_files_are_told_apart_by_their_keys(self) -> None:
        twins = ("https://h/a.mp4?key=1", "https://h/a.mp4?key=2")
        masked = mask_url(twins[0])
        status = self.status(files(source_urls=twins), self.playback(url=masked, next_url=masked))
        assert (status.file_url, status.next_file_url) == (twins[1], twins[0])

    def test_file_that_the_list_has_no_more_stays_masked(self) -> None:
        new = ("https://h/new.mp4?key=1",)
        status = self.status(files(source_urls=new), self.playback(next_url=mask_url(new[0])))
        assert (status.file_url, status.next_file_url) == (mask_url(FILES[1]), new[0])
        assert "s3cret" not in status.file_url

    def test_length_that_nobody_knows_is_0(self) -> None:
        assert self.status(files(), self.playback(duration_ms=None)).duration_s == 0

    def test_nothing_is_on_air_before_the_first_file(self) -> None:
        status = self.status(files(), None, on_air="", state=State.STARTING)
        assert (status.file_url, status.next_file_url, status.offset_s, status.looped) == ("", "", 0, 0)

    def test_place_is_remembered_when_nothing_runs(self) -> None:
        stale = self.status(files(), self.playback(), now=NOW + 60_000)
        assert (stale.active, stale.file_url, stale.next_file_url) == (False, "", "")
        assert (stale.offset_s, stale.looped, stale.report_at) == (12, 2, NOW)

    def test_worker_that_has_not_told_yet_stands_where_the_one_before_was(self) -> None:
        status = self.status(files(), self.playback(), epoch=2)
        assert (status.active, status.file_url, status.offset_s, status.looped) == (False, "", 12, 2)
        assert (status.report_at, status.observed) == (NOW, None)

    def test_place_that_was_left_by_a_change_is_not_told(self) -> None:
        moved = pull.apply(files(), PullChange(file_index=1, offset_time=0))
        assert self.status(moved, self.playback()).looped == 0

    def test_live_source_has_no_place(self) -> None:
        live: Observed = observe(1, 3, playback=self.playback())
        status = pull.run_status(make_task(), make_spec(), live, NOW)
        assert (status.offset_s, status.duration_s, status.looped, status.playback) == (59, 0, 0, None)
