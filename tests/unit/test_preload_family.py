"""The family ``preload``: what may be asked for, what is run, and what is truly going on."""

from typing import Any

import pytest
from msgspec.structs import replace

from penstock.errors import InvalidSourceUrl, InvalidTaskTime
from penstock.tasks.families import preload
from penstock.tasks.families.preload import Phase, PreloadSpec
from penstock.tasks.model import Area, Desired, Edge, HoldStatus, Observed, State, Task
from tests.unit.making import HOUR, NOW

EDGES = (
    Edge(name="north", area=Area.DOMESTIC, rtmp="10.0.0.1", http="10.0.0.1:8080", https="10.0.0.1"),
    Edge(name="south", area=Area.GLOBAL, rtmp="[fd00::1]:1936", host="live.example", query="key=s3cret", concurrency=5),
)


def task(url: str = "rtmp://play.example/live/a?t=1", **fields: Any) -> Task:
    """A task that a worker has had since NOW, until an hour later."""
    values: dict[str, Any] = {
        "key": 1,
        "account_id": 1,
        "family": preload.FAMILY,
        "id": "x",
        "spec": preload.encode(PreloadSpec(play_url=url, area=Area.GLOBAL)),
        "desired": Desired.ENABLE,
        "state": State.STARTING,
        "state_at": NOW,
        "revision": 1,
        "start_at": NOW,
        "end_at": NOW + HOUR,
        "region": "",
        "created_at": NOW,
        "created_by": "api",
        "updated_at": NOW,
        "updated_by": "api",
        "owner": "w-1",
        "epoch": 1,
        "observed": None,
        "domain": "play.example",
    }
    return Task(**values | fields)


def seen(*states: str, at: int = NOW, epoch: int = 1) -> Observed:
    """One hold on an edge for each state."""
    holds = tuple(
        HoldStatus(
            id=f"e{number}/rtmp",
            edge=f"e{number}",
            area="global",
            state=state,
            since=NOW,
            error="" if state == "flowing" else "connection refused",
        )
        for number, state in enumerate(states)
    )
    return Observed(key=1, epoch=epoch, state=State.ACTIVE, at=at, started_at=NOW, since=NOW, holds=holds)


class TestPlan:
    """Where each edge is, and what a viewer asks for there."""

    def test_every_edge_that_serves_the_protocol_is_held(self) -> None:
        north, south = preload.plan(task(), EDGES).holds

        assert (north.id, north.host, north.port, north.vhost) == ("north/rtmp", "10.0.0.1", 1935, "play.example")
        assert (north.path, north.query, north.concurrency) == ("/live/a", "t=1", 0)
        assert (south.id, south.host, south.port, south.vhost) == ("south/rtmp", "fd00::1", 1936, "live.example")
        assert (south.path, south.query, south.concurrency) == ("/live/a", "t=1&key=s3cret", 5)

    def test_edge_that_does_not_serve_the_protocol_is_left_out(self) -> None:
        plan = preload.plan(task("https://play.example/live/a.m3u8"), EDGES)

        [hold] = plan.holds
        assert (hold.id, hold.protocol, hold.port, hold.tls) == ("north/hls", "hls", 443, True)
        assert plan.end.end_at == NOW + HOUR
        assert (plan.sources, plan.sinks) == ((), ())

    @pytest.mark.parametrize(
        ("url", "other", "same"),
        [
            ("rtmp://play.example/live/a?t=1", "rtmp://PLAY.example:1935/live/a?t=1", True),
            ("http://play.example/a.flv", "http://play.example:80/a.flv", True),
            ("http://play.example/a.flv", "http://play.example:8080/a.flv", False),
            ("rtmp://play.example/live/a?t=1", "rtmp://play.example/live/a?t=2", False),
        ],
    )
    def test_urls_that_mean_the_same_are_watched_alike(self, url: str, other: str, same: bool) -> None:
        one, two = ([replace(hold, url="") for hold in preload.plan(task(its), EDGES).holds] for its in (url, other))
        assert (one == two) is same
        assert preload.affinity(url) == preload.affinity(other)

    def test_plan_without_edges_is_empty(self) -> None:
        assert preload.plan(task(), ()).holds == ()

    @pytest.mark.parametrize(
        ("template", "url", "path"),
        [
            ("{path}", "http://play.example/a/b/c.flv", "/a/b/c.flv"),
            ("/x/{stream}.flv", "http://play.example/a/b/c.flv", "/x/c.flv"),
            ("/{app}/{stream}/index.m3u8", "http://play.example/a/b/c.m3u8", "/a/b/c/index.m3u8"),
            ("/{stream}{other}", "http://play.example/a/{app}.flv", "/{app}{other}"),
        ],
    )
    def test_path_template(self, template: str, url: str, path: str) -> None:
        edge = Edge(name="e", area=Area.GLOBAL, http="e.example", path=template)

        assert [hold.path for hold in preload.plan(task(url), [edge]).holds] == [path]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "empty"),
        ("srt://play.example/live/a", "protocol"),
        ("ftp://play.example/live/a.flv", "protocol"),
        ("rtmp://play.example/live", "stream"),
        ("rtmp://other.example/live/a", "DomainName"),
        ("rtmp://user@play.example/live/a", "user name"),
        ("http://play.example/live/a.mp4", "neither"),
        ("http://play.example/live/a.flv#x", "fragment"),
        ("http://play.example:0/live/a.flv", "port"),
        ("http://play.example/" + "a" * 2048 + ".flv", "longer"),
        ("rtmp://play.example/live/a\n", "character"),
    ],
)
def test_url_that_cannot_be_preloaded_is_refused(url: str, why: str) -> None:
    with pytest.raises(InvalidSourceUrl, match=why):
        preload.check(url, "play.example", EDGES, hls=True)


def test_url_that_no_edge_serves_is_refused() -> None:
    preload.check("http://play.example/a.flv", "play.example", EDGES, hls=True)
    with pytest.raises(InvalidSourceUrl, match=r"no edge node of the area serves HTTP\."):
        preload.check("http://play.example/a.flv", "play.example", EDGES[1:], hls=True)
    plain = [Edge(name="e", area=Area.GLOBAL, http="10.0.0.1")]
    with pytest.raises(InvalidSourceUrl, match="no edge node of the area serves HTTPS"):
        preload.check("https://play.example/a.flv", "play.example", plain, hls=True)
    with pytest.raises(InvalidSourceUrl, match="no edge node"):
        preload.check("rtmp://play.example/live/a", "play.example", (), hls=True)


def test_playlists_are_refused_where_they_are_switched_off() -> None:
    preload.check("http://play.example/a.m3u8", "play.example", EDGES, hls=True)
    with pytest.raises(InvalidSourceUrl, match="HLS"):
        preload.check("http://play.example/a.m3u8", "play.example", EDGES, hls=False)


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [
        ("", "", (0, HOUR)),
        ("2026-01-31T12:00:00Z", "", (2 * HOUR, 3 * HOUR)),
        ("", "2026-01-31T16:00:00Z", (0, 6 * HOUR)),
        ("2026-01-31T09:59:00Z", "2026-01-31T15:59:00Z", (-60_000, 6 * HOUR - 60_000)),
    ],
)
def test_span(start: str, end: str, span: tuple[int, int]) -> None:
    assert preload.span(start, end, now=NOW) == (NOW + span[0], NOW + span[1])


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ("2026-01-31T09:00:00Z", "2026-01-31T11:00:00Z", "past"),
        ("2026-01-31T08:00:00Z", "2026-01-31T09:00:00Z", "past"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", "later"),
        ("2026-01-31T12:00:00Z", "2026-01-31T11:00:00Z", "later"),
        ("", "2026-01-31T10:00:00Z", "later"),
        ("", "2026-01-31T16:00:01Z", "6 hours"),
        ("2026-01-31 12:00:00", "", "not a time in UTC"),
        ("2026-01-31T12:00:00+08:00", "", "not a time in UTC"),
        ("2026-01-31T12:00:00.5Z", "", "not a time in UTC"),
        ("", "2026-02-30T12:00:00Z", "day"),
    ],
)
def test_span_that_cannot_be_is_refused(start: str, end: str, why: str) -> None:
    with pytest.raises(InvalidTaskTime, match=why):
        preload.span(start, end, now=NOW)


class TestWarmth:
    """Status that cannot lie."""

    def test_task_that_is_not_due_is_pending(self) -> None:
        warmth = preload.warmth(task(owner=None, epoch=0, state=State.WAITING), None, NOW - 1)

        assert (warmth.phase, warmth.process, warmth.error) == (Phase.PENDING, 0, "")

    def test_share_of_warm_edges(self) -> None:
        warmth = preload.warmth(task(), seen("flowing", "retrying", "flowing"), NOW)

        assert (warmth.phase, warmth.process) == (Phase.PRELOADING, 66)
        assert warmth.error == "e1/rtmp: connection refused"

    def test_complete_only_when_all_are_warm(self) -> None:
        warmth = preload.warmth(task(), seen("flowing", "flowing"), NOW)

        assert (warmth.phase, warmth.process, warmth.error) == (Phase.COMPLETE, 100, "")

    @pytest.mark.parametrize(
        ("fields", "observed", "now"),
        [
            ({}, seen("flowing"), NOW + 3001),
            ({"owner": None}, seen("flowing"), NOW + 4000),
            ({"epoch": 2}, seen("flowing"), NOW),
            ({"state": State.SUSPENDED, "owner": None}, seen("flowing"), NOW),
        ],
    )
    def test_what_is_not_known_to_be_true_now_is_not_said(
        self, fields: dict[str, Any], observed: Observed, now: int
    ) -> None:
        warmth = preload.warmth(task(**fields), observed, now)

        assert (warmth.phase, warmth.process) == (Phase.PRELOADING, 0)

    def test_stale_report_and_missing_edges_are_told(self) -> None:
        assert "no report" in preload.warmth(task(), seen("flowing"), NOW + 4000).error
        assert "no edge node" in preload.warmth(task(), seen(), NOW).error
        waiting = task(owner=None, state=State.WAITING)
        assert "no capacity" in preload.warmth(waiting, None, NOW + 4000, waiting="no capacity (1/1)").error

    def test_after_the_end_the_last_report_counts(self) -> None:
        ended = task(state=State.ENDED, owner=None)
        last = NOW + HOUR - 2000

        assert preload.warmth(ended, seen("flowing", at=last), NOW + HOUR).phase is Phase.COMPLETE
        failed = preload.warmth(ended, seen("flowing", "retrying", at=last), NOW + HOUR)
        assert (failed.phase, failed.process, failed.error) == (Phase.FAILED, 50, "e1/rtmp: connection refused")

    def test_task_whose_worker_died_long_before_the_end_has_failed(self) -> None:
        ended = task(state=State.ENDED, owner=None)

        for observed in (seen("flowing", at=NOW + HOUR - 10_001), seen("flowing", epoch=0), seen(), None):
            warmth = preload.warmth(ended, observed, NOW + HOUR)
            assert (warmth.phase, warmth.process) == (Phase.FAILED, 0)
