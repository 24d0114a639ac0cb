"""The pull family: what may be asked for."""

from typing import Any

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
from penstock.tasks.families import pull, pull_rules
from penstock.tasks.families.pull import Watermark
from tests.unit.making import DAY, HOUR, LIVE_BACKUP, NOW, PARTS, make_spec, make_task


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
