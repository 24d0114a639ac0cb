"""The pull family: what a worker runs for a task, what changes that, what is said about it."""

from typing import Any

import msgspec
import pytest

from penstock.errors import (
    InvalidField,
)
from penstock.media.plan import EndRules, Plan, Playlist, Sink, Source
from penstock.tasks.families import pull, pull_rules
from penstock.tasks.families.pull import PullChange
from penstock.tasks.model import Observed, State
from tests.unit.making import DAY, HOUR, LIVE_BACKUP, NOW, PARTS, make_spec, make_task, node, observe


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
