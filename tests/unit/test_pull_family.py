"""The pull family: what may be asked for, what a worker runs for it, what is said about it."""

from typing import Any

import msgspec
import pytest

from penstock.errors import (
    InvalidBackupToUrl,
    InvalidCallbackUrl,
    InvalidField,
    InvalidSourceUrl,
    InvalidTaskTime,
    InvalidToUrl,
    Refused,
    Unsupported,
)
from penstock.media.plan import EndRules, Plan, Playlist, Sink, Source
from penstock.tasks.families import pull, pull_rules
from penstock.tasks.families.pull import PullChange, Watermark
from penstock.tasks.model import Desired, Observed, State, Task
from tests.unit.making import DAY, HOUR, NOW, make_spec, node, observe

PARTS = {"to_url": "", "domain_name": "push.example", "app_name": "live", "stream_name": "a"}


def make_task(**fields: Any) -> Task:
    """A row that a worker runs, but for what is given."""
    values: dict[str, Any] = {
        "key": 1,
        "account_id": 1,
        "family": "pull",
        "id": "10001",
        "spec": pull.encode(make_spec()),
        "desired": Desired.ENABLE,
        "state": State.ACTIVE,
        "state_at": NOW,
        "revision": 1,
        "start_at": NOW - HOUR,
        "end_at": NOW + HOUR,
        "region": "",
        "created_at": NOW - HOUR,
        "created_by": "",
        "updated_at": NOW - HOUR,
        "updated_by": "",
        "owner": "w-1",
        "epoch": 3,
        "observed": None,
    }
    return Task(**values | fields)


def refusal(**fields: Any) -> Refused:
    """What is raised for a spec."""
    with pytest.raises(Refused) as raised:
        pull_rules.check(make_spec(**fields))
    return raised.value


class TestSpec:
    """What Create may carry."""

    def test_minimal_spec_is_accepted(self) -> None:
        pull_rules.check(make_spec())

    def test_spec_survives_its_storage(self) -> None:
        spec = make_spec(watermark_list=(Watermark(picture_url="https://h/p.png"),), file_index=1)
        assert pull.decode(pull.encode(spec)) == spec

    @pytest.mark.parametrize(
        "url", ["", "garbage", "ftp://h/a/b", "rtmp://h", "rtmp://h/app", "rtmp://h/a/b\r\nc", "rtp://h:5000/a/b"]
    )
    def test_garbage_is_no_source(self, url: str) -> None:
        assert isinstance(refusal(source_urls=(url,)), InvalidSourceUrl)

    @pytest.mark.parametrize(
        "url",
        ["http://h/", "https://u:p@h:8443/a/b.m3u8?token=1,2", "HTTP://h.example/live.ts", "http://h/a.m3u8?b=c.flv"],
    )
    def test_source_over_http_is_served_by_a_child(self, url: str) -> None:
        spec = make_spec(source_urls=(url,))
        pull_rules.check(spec)
        assert "FFmpeg" in pull.plan(make_task(spec=pull.encode(spec))).sources[0].child

    @pytest.mark.parametrize("url", ["http://h/live/a.flv", "HTTPS://u:p@h:8443/A.FLV?token=1,2"])
    def test_flv_over_http_needs_no_child(self, url: str) -> None:
        spec = make_spec(source_urls=(url,))
        pull_rules.check(spec)
        assert pull.plan(make_task(spec=pull.encode(spec))).sources[0].child == ""

    def test_children_count_in_what_a_task_costs(self) -> None:
        def cost(source: str, sink: str) -> int:
            return pull.plan(make_task(spec=pull.encode(make_spec(source_urls=(source,), to_url=sink)))).cost

        rtmp, hls, srt = "rtmp://h/a/b", "http://h/a.m3u8", "srt://h:1"
        assert (cost(rtmp, rtmp), cost(hls, rtmp), cost(rtmp, srt), cost(hls, srt)) == (1, 11, 11, 21)

    @pytest.mark.parametrize("urls", [(), ("rtmp://h/a/b", "rtmp://h/a/c")])
    def test_live_source_is_exactly_one(self, urls: tuple[str, ...]) -> None:
        assert isinstance(refusal(source_urls=urls), InvalidSourceUrl)

    def test_srt_source_is_served_by_a_child(self) -> None:
        spec = make_spec(source_urls=("srt://h:9000?streamid=#!::r=live/a&passphrase=0123456789",))
        pull_rules.check(spec)
        assert "SRT is spoken by FFmpeg" in pull.plan(make_task(spec=pull.encode(spec))).sources[0].child

    @pytest.mark.parametrize(
        ("url", "complaint"),
        [
            ("srt://h", "no port"),
            ("srt://h:9000/live/a", "no path"),
            ("srt://h:9000?mode=listener", "its mode can only be caller"),
            ("srt://h:9000?passphrase=hush", "its passphrase has not 10 to 79 characters"),
        ],
    )
    def test_srt_source_that_cannot_be_called_is_refused(self, url: str, complaint: str) -> None:
        error = refusal(source_urls=(url,))
        assert isinstance(error, InvalidSourceUrl)
        assert complaint in error.message
        assert "hush" not in error.message

    @pytest.mark.parametrize("url", ["garbage", "http://h/a/b", "rtmp://h/app/", "rtmp://h:99999/a/b"])
    def test_garbage_is_no_destination(self, url: str) -> None:
        assert isinstance(refusal(to_url=url), InvalidToUrl)

    @pytest.mark.parametrize("url", ["rtsp://u:p@h/live/a?b=c", "rtp://h:5004", "srt://h:9000?streamid=#!::r=live/a"])
    def test_destination_beside_rtmp_is_delivered_to_by_a_child(self, url: str) -> None:
        spec = make_spec(to_url=url)
        pull_rules.check(spec)
        assert "FFmpeg" in pull.plan(make_task(spec=pull.encode(spec))).sinks[0].child
        assert pull.plan(make_task()).sinks[0].child == ""

    @pytest.mark.parametrize(
        ("url", "complaint"),
        [
            ("srt://h", "no port"),
            ("srt://h:9000?mode=listener", "its mode can only be caller"),
            ("rtp://h", "nothing but a host and a port"),
            ("rtp://h:5004/a", "nothing but a host and a port"),
            ("rtp://h:5004?localaddr=10.0.0.1", "nothing but a host and a port"),
            ("rtp://u@h:5004", "nothing but a host and a port"),
        ],
    )
    def test_destination_that_cannot_be_delivered_to_is_refused(self, url: str, complaint: str) -> None:
        error = refusal(to_url=url)
        assert isinstance(error, InvalidToUrl)
        assert complaint in error.message

    @pytest.mark.parametrize("field", ["source_urls", "to_url", "backup_to_url"])
    def test_rtmp_urls_may_name_a_user(self, field: str) -> None:
        url = "rtmp://user:p%40ss@h/a/b"
        pull_rules.check(make_spec(**{field: (url,) if field == "source_urls" else url}))

    @pytest.mark.parametrize("field", ["domain_name", "app_name", "stream_name"])
    def test_destination_by_parts_needs_all_three(self, field: str) -> None:
        error = refusal(**PARTS | {field: ""})
        assert isinstance(error, InvalidField)
        assert error.field.replace("_", "") == error.field
        assert error.field.lower() == field.replace("_", "")

    @pytest.mark.parametrize("field", ["domain_name", "app_name", "stream_name"])
    def test_whole_destination_takes_no_parts_beside_it(self, field: str) -> None:
        assert isinstance(refusal(**{field: "a"}), InvalidToUrl)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("domain_name", "a/b"),
            ("domain_name", "user@a"),
            ("app_name", "a/b"),
            ("stream_name", "a?b"),
            ("push_args", "a#b"),
            ("push_args", "a b"),
            ("push_args", "a\nb"),
            ("comment", "x" * 513),
            ("comment", "好" * 171),
            ("comment", "a\x00b"),
            ("comment", "\ud800"),
            ("callback_events", ("TaskStart", "Nonsense")),
            ("vod_loop_times", -2),
            ("vod_refresh_type", "Sometime"),
            ("vod_local_mode", 2),
            ("extra_cmd", "slate=maybe"),
            ("extra_cmd", "slate="),
            ("source_type", "PullNothing"),
        ],
    )
    def test_value_outside_its_set_names_its_field(self, field: str, value: object) -> None:
        error = refusal(**PARTS | {field: value})
        assert isinstance(error, InvalidField)
        assert error.field.lower() == field.replace("_", "")

    def test_comment_may_have_512_bytes(self) -> None:
        pull_rules.check(make_spec(comment="好" * 170 + "xx"))

    @pytest.mark.parametrize("url", ["garbage", "rtmp://h/a/b", "ftp://h/", "http://", "https://h/\n"])
    def test_garbage_is_no_callback(self, url: str) -> None:
        assert isinstance(refusal(callback_url=url), InvalidCallbackUrl)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("source_type", "PullPicPushLive"),
            ("watermark_list", (Watermark(picture_url="https://h/p.png"),)),
            ("record_template_id", "1"),
            ("transcode_template_name", "t"),
        ],
    )
    def test_feature_that_is_not_served_is_refused_and_never_ignored(self, field: str, value: object) -> None:
        assert isinstance(refusal(**{field: value}), Unsupported)

    @pytest.mark.parametrize("url", ["garbage", "ftp://h/a", "rtmp://h/app", "rtmp://h:0/a/b", "rtmp://h/a/b#c"])
    def test_garbage_is_no_backup_source(self, url: str) -> None:
        error = refusal(**LIVE_BACKUP | {"backup_source_url": url})
        assert isinstance(error, InvalidSourceUrl)
        assert error.message.startswith("BackupSourceUrl: ")

    @pytest.mark.parametrize("missing", ["backup_source_type", "backup_source_url"])
    def test_backup_source_has_a_type_and_a_url(self, missing: str) -> None:
        error = refusal(**LIVE_BACKUP | {missing: ""})
        assert isinstance(error, InvalidField)
        assert error.field.lower() == missing.replace("_", "")

    @pytest.mark.parametrize("url", ["garbage", "http://h/a/b", "rtmp://h/app", "rtmp://h:0/a/b", "rtmp://h/a/b#c"])
    def test_garbage_is_no_second_destination(self, url: str) -> None:
        assert isinstance(refusal(backup_to_url=url), InvalidBackupToUrl)

    def test_second_destination_may_be_another_stream_of_the_same_peer(self) -> None:
        first, second = "srt://h:9000?streamid=a", "srt://h:9000?streamid=b"
        pull_rules.check(make_spec(to_url=first, backup_to_url=second))
        assert isinstance(refusal(to_url=first, backup_to_url=first), InvalidBackupToUrl)
        assert isinstance(refusal(to_url="rtp://h:5004", backup_to_url="rtp://h:5004"), InvalidBackupToUrl)

    @pytest.mark.parametrize("url", ["rtmp://sink.example/live/key", "rtmp://SINK.example:1935/live/key?a=b"])
    def test_second_destination_is_not_the_first_one_again(self, url: str) -> None:
        assert isinstance(refusal(backup_to_url=url), InvalidBackupToUrl)

    def test_no_message_holds_a_key(self) -> None:
        for fields in ({"source_urls": ("rtmp://h/a/k3y#",)}, {"to_url": "rtmp://h:x/a/k3y"}):
            assert "k3y" not in refusal(**fields).message


LIVE_BACKUP = {"backup_source_type": "PullLivePushLive", "backup_source_url": "rtmp://b.example/live/b?token=s3cret"}


class TestTimes:
    """When a task may run."""

    def test_start_may_lie_in_the_past(self) -> None:
        spec = make_spec(start_time="2026-01-31T17:00:00+08:00")
        assert pull_rules.span(spec, now=NOW, max_days=30) == (NOW - HOUR, NOW + 2 * HOUR)

    @pytest.mark.parametrize(
        ("start", "end", "complaint"),
        [
            ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z", "later than StartTime"),
            ("2026-01-30T10:00:00Z", "2026-01-31T10:00:00Z", "later than the current time"),
            ("2026-01-31T10:00:00Z", "2026-03-02T10:00:01Z", "within 30 days"),
            ("yesterday", "2026-01-31T10:00:00Z", "StartTime: not a time"),
            ("2026-01-31T10:00:00Z", "2026-01-32T10:00:00Z", "EndTime: "),
        ],
    )
    def test_impossible_span_is_refused(self, start: str, end: str, complaint: str) -> None:
        with pytest.raises(InvalidTaskTime, match=complaint):
            pull_rules.span(make_spec(start_time=start, end_time=end), now=NOW, max_days=30)

    def test_span_of_just_the_limit_is_accepted(self) -> None:
        spec = make_spec(end_time="2026-03-02T10:00:00Z")
        assert pull_rules.span(spec, now=NOW, max_days=30) == (NOW, NOW + 30 * DAY)

    def test_limit_zero_is_no_limit(self) -> None:
        assert pull_rules.span(make_spec(end_time="9999-12-31T23:59:59Z"), now=NOW, max_days=0)[1] > NOW


class TestPlan:
    """What a worker runs."""

    def test_plan_has_one_source_one_sink_and_the_end(self) -> None:
        expected = Plan(
            sources=(Source(id="source", url="rtmp://source.example/live/a?token=s3cret"),),
            sinks=(Sink(id="sink", url="rtmp://sink.example/live/key"),),
            end=EndRules(end_at=NOW + HOUR),
        )
        assert expected == pull.plan(make_task())

    @pytest.mark.parametrize(
        ("fields", "url"),
        [
            (PARTS, "rtmp://push.example/live/a"),
            (PARTS | {"push_args": "txSecret=1&txTime=2"}, "rtmp://push.example/live/a?txSecret=1&txTime=2"),
            (PARTS | {"push_args": "?a=1"}, "rtmp://push.example/live/a?a=1"),
            ({"to_url": "rtmp://h/a/b", "push_args": "a=1"}, "rtmp://h/a/b?a=1"),
            ({"to_url": "rtmp://h/a/b?x=1", "push_args": "a=1"}, "rtmp://h/a/b?x=1&a=1"),
        ],
    )
    def test_destination_is_the_whole_url_or_its_parts_with_push_args(self, fields: dict[str, Any], url: str) -> None:
        assert pull.destination(make_spec(**fields)) == url

    def test_backup_comes_after_the_source(self) -> None:
        first, second = pull.plan(make_task(spec=pull.encode(make_spec(**LIVE_BACKUP)))).sources
        assert pull.plan(make_task()).sources == (first,)
        assert second == Source(id="backup", url="rtmp://b.example/live/b?token=s3cret")

    def test_second_destination_is_a_sink_of_its_own(self) -> None:
        first, second = pull.plan(make_task(spec=pull.encode(make_spec(backup_to_url="rtmp://h/a/b?k=1")))).sinks
        assert pull.plan(make_task()).sinks == (first,)
        assert second == Sink(id="sink.backup", url="rtmp://h/a/b?k=1")

    @pytest.mark.parametrize(
        ("words", "mode"),
        [("", None), ("ignore_region", None), ("slate=off", "off"), ("a,slate=picture b, slate=last", "last")],
    )
    def test_slate_is_what_the_last_word_says(self, words: str, mode: str | None) -> None:
        spec = make_spec(extra_cmd=words)
        pull_rules.check(spec)
        assert pull.plan(make_task(spec=pull.encode(spec))).slate == mode

    def test_later_end_changes_nothing_but_the_end(self) -> None:
        later = pull.plan(make_task(end_at=NOW + DAY))
        assert later != pull.plan(make_task())
        assert msgspec.structs.replace(later, end=EndRules(end_at=NOW + HOUR)) == pull.plan(make_task())


class TestChange:
    """What Modify does to a spec."""

    def test_nothing_given_changes_nothing(self) -> None:
        assert pull.apply(make_spec(), PullChange()) == make_spec()

    def test_empty_value_clears(self) -> None:
        spec = make_spec(comment="a", callback_events=("TaskStart",))
        assert pull.apply(spec, PullChange(comment="", callback_events=())) == make_spec()

    def test_new_destination_replaces_the_old_one_whole(self) -> None:
        spec = make_spec(**PARTS, push_args="old=1")
        assert pull.apply(spec, PullChange(to_url="rtmp://h/a/b")) == make_spec(to_url="rtmp://h/a/b")

    def test_empty_destination_leaves_the_parts(self) -> None:
        spec = make_spec(**PARTS, push_args="old=1")
        assert pull.apply(spec, PullChange(to_url="")) == spec

    def test_empty_type_takes_the_backup_away(self) -> None:
        spec = make_spec(**LIVE_BACKUP)
        assert pull.apply(spec, PullChange(backup_source_type="")) == make_spec()
        assert pull.apply(spec, PullChange(backup_source_type="", backup_source_url="")) == make_spec()
        assert pull.apply(spec, PullChange(comment="")) == spec

    def test_url_of_the_backup_changes_alone(self) -> None:
        changed = pull.apply(make_spec(**LIVE_BACKUP), PullChange(backup_source_url="rtmp://h/a/c"))
        assert changed == make_spec(**LIVE_BACKUP | {"backup_source_url": "rtmp://h/a/c"})

    def test_file_takes_the_place_of_the_backup(self) -> None:
        changed = pull.apply(make_spec(**LIVE_BACKUP), PullChange(backup_vod_url="https://h/slate.mp4"))
        assert changed == make_spec(backup_source_type="PullVodPushLive", backup_source_url="https://h/slate.mp4")
        assert pull.apply(changed, PullChange(backup_vod_url="")) == make_spec()
        assert pull.apply(make_spec(**LIVE_BACKUP), PullChange(backup_vod_url="")) == make_spec(**LIVE_BACKUP)

    def test_file_that_stands_in_is_a_playlist(self) -> None:
        spec = make_spec(backup_source_type="PullVodPushLive", backup_source_url="https://h/slate.mp4")
        assert pull.plan(make_task(spec=pull.encode(spec))).sources[1] == Playlist(
            id="backup", urls=("https://h/slate.mp4",)
        )

    def test_there_is_one_backup(self) -> None:
        with pytest.raises(InvalidField):
            pull_rules.check_change(PullChange(backup_vod_url="https://h/slate.mp4", backup_source_url="rtmp://h/a/b"))


class TestStatus:
    """What is said about a run."""

    def status(self, observed: Observed | None, now: int = NOW, **fields: Any) -> pull.RunStatus:
        return pull.run_status(make_task(**fields), make_spec(), observed, now)

    def test_fresh_observation_of_flowing_media_is_active(self) -> None:
        status = self.status(observe(1, 3))
        assert (status.active, status.file_url, status.offset_s, status.report_at, status.error) == (
            True,
            "rtmp://source.example/live/a?token=s3cret",
            59,
            NOW,
            "",
        )

    def test_file_url_is_what_is_on_air(self) -> None:
        def shown(on_air: str) -> str:
            return pull.run_status(make_task(), make_spec(**LIVE_BACKUP), observe(1, 3, on_air=on_air), NOW).file_url

        assert shown("backup") == "rtmp://b.example/live/b?token=s3cret"
        assert shown("source") == "rtmp://source.example/live/a?token=s3cret"
        assert shown("") == ""

    def test_run_that_is_not_heard_of_is_told_after_three_seconds(self) -> None:
        assert self.status(None, now=NOW + 3000).error == ""
        late = self.status(None, now=NOW + 3001)
        assert late.error == "2026-01-31T10:00:00Z task: no report from its worker yet"
        assert self.status(observe(1, 2), now=NOW + 3001).error == late.error  # an earlier run's

    def test_observation_proves_nothing_after_three_seconds(self) -> None:
        assert self.status(observe(1, 3), now=NOW + 3000).active
        stale = self.status(observe(1, 3), now=NOW + 3001)
        assert not stale.active
        assert (stale.file_url, stale.offset_s, stale.report_at) == ("", 59, NOW)
        assert stale.error == "2026-01-31T10:00:00Z task: no report from its worker since then"

    @pytest.mark.parametrize("epoch", [2, 4])
    def test_observation_of_another_run_says_nothing(self, epoch: int) -> None:
        assert self.status(observe(1, epoch)) == self.status(None)

    def test_task_without_owner_is_never_active(self) -> None:
        assert not self.status(observe(1, 3), owner=None, state=State.WAITING).active

    def test_source_is_on_air_while_the_destination_fails(self) -> None:
        broken = observe(1, 3, state=State.INACTIVE, error="sink: connection refused")
        status = self.status(broken, state=State.INACTIVE)
        assert (status.active, status.file_url, status.error) == (
            False,
            "rtmp://source.example/live/a?token=s3cret",
            "sink: connection refused",
        )

    def test_no_source_on_air_has_no_url(self) -> None:
        assert self.status(observe(1, 3, state=State.INACTIVE, on_air="")).file_url == ""

    def test_offset_counts_what_was_delivered(self) -> None:
        seen = observe(1, 3, sources=(node("source", media_ms=90_000),), sinks=(node("sink", media_ms=1_999),))
        assert self.status(seen).offset_s == 1

    def test_offset_is_that_of_the_destination_that_got_most(self) -> None:
        sinks = (node("sink", media_ms=1_999), node("sink.backup", media_ms=3_000))
        assert self.status(observe(1, 3, sinks=sinks)).offset_s == 3

    @pytest.mark.parametrize("state", [State.PAUSED, State.ENDED])
    def test_task_that_is_not_to_run_has_no_error(self, state: State) -> None:
        seen = observe(1, 3, state=State.INACTIVE, error="source: connection refused")
        assert self.status(seen, state=state, owner=None).error == ""

    def test_due_task_that_nobody_takes_says_so(self) -> None:
        waiting = {"state": State.WAITING, "owner": None, "start_at": NOW, "state_at": NOW - HOUR}
        assert self.status(None, now=NOW + 3000, **waiting).error == ""
        assert self.status(None, now=NOW + 3001, **waiting).error == ("2026-01-31T10:00:00Z task: waiting for a worker")

    def test_task_that_is_not_due_has_no_error(self) -> None:
        assert self.status(None, state=State.WAITING, owner=None, start_at=NOW + 1).error == ""

    def test_task_past_its_end_has_no_error(self) -> None:
        assert self.status(None, now=NOW + DAY, state=State.WAITING, owner=None).error == ""
