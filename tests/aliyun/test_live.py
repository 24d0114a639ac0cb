"""SetLiveStreamPreloadTasks and DescribeLiveStreamPreloadTasks, as a caller sees them."""

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.tasks.accounts import NewAccount
from penstock.tasks.model import HoldStatus, Observed, State
from tests.aliyun.signing import DESCRIBE, SET, Signer, domain_of, utc
from tests.endpoint import Endpoint

HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def caller(endpoint: Endpoint, account: NewAccount) -> Signer:
    return Signer(endpoint, account)


@pytest.fixture
def clock(endpoint: Endpoint) -> Iterator[Endpoint]:
    """The endpoint, whose clock is put right afterwards."""
    yield endpoint
    endpoint.ahead_ms = 0


def set_tasks(caller: Signer, domain: str, *urls: str, **parameters: str) -> dict[str, Any]:
    """The answer."""
    answer = caller.v3(SET, {"DomainName": domain, "PlayUrl": ",".join(urls), **parameters})
    assert answer.status == 200, answer.tree
    return answer.tree


def ids(caller: Signer, domain: str, *names: str, **parameters: str) -> list[str]:
    """The TaskIds of streams of these names, by RTMP."""
    tree = set_tasks(caller, domain, *(f"rtmp://{domain}/live/{name}" for name in names), **parameters)
    return [message["TaskId"] for message in tree["PreloadTasksMessages"]["PreloadTasksMessage"]]


def described(caller: Signer, domain: str, **parameters: str) -> list[dict[str, Any]]:
    """The rows."""
    answer = caller.v3(DESCRIBE, {"DomainName": domain, **parameters})
    assert answer.status == 200, answer.tree
    rows: list[dict[str, Any]] = answer.tree["PreloadTasks"]["PreloadTask"]
    return rows


def found(caller: Signer, domain: str, **parameters: str) -> list[str]:
    """Their TaskIds."""
    return [row["TaskId"] for row in described(caller, domain, **parameters)]


def warm(endpoint: Endpoint, task_id: str, *states: str) -> None:
    """Let a worker take the task and report a hold in each of these states."""
    [task] = [task for task in endpoint.claimed() if task.id == task_id]
    holds = tuple(
        HoldStatus(id=f"e{number}/rtmp", edge=f"e{number}", area="domestic", state=state, since=endpoint.now())
        for number, state in enumerate(states)
    )
    endpoint.reports.by_key[task.key] = Observed(
        key=task.key,
        epoch=task.epoch,
        state=State.ACTIVE,
        at=endpoint.now(),
        started_at=endpoint.now(),
        since=endpoint.now(),
        holds=holds,
    )


class TestSet:
    """Each URL on its own."""

    def test_one_bad_url_fails_alone_and_is_told_apart(self, caller: Signer, domain: str) -> None:
        good = [f"rtmp://{domain}/live/a", f"http://{domain}/live/a.flv", f"https://{domain}/live/a.m3u8"]
        bad = ["nonsense", f"ftp://{domain}/a.flv", "rtmp://other.example.com/live/a", f"rtmp://{domain}/live", good[0]]
        tree = set_tasks(caller, domain, *good, *bad)

        messages = tree["PreloadTasksMessages"]["PreloadTasksMessage"]
        assert [message["PlayUrl"] for message in messages] == [*good, *bad]
        assert [message["Description"] for message in messages] == ["Successfully"] * 3 + ["InternalError"] * 5
        assert [bool(message["TaskId"]) for message in messages] == [True] * 3 + [False] * 5
        assert (tree["Status"], tree["TotalURL"], tree["SuccessURL"], tree["FailedURL"]) == ("Failed", 8, 3, 5)
        assert len(described(caller, domain)) == 3

    def test_hundred_urls_are_taken_and_one_more_is_refused(self, caller: Signer, domain: str) -> None:
        urls = [f"rtmp://{domain}/live/{number}" for number in range(101)]
        tree = set_tasks(caller, domain, *urls[:100])

        assert (tree["Status"], tree["SuccessURL"]) == ("Success", 100)
        refused = caller.v1(SET, {"DomainName": domain, "PlayUrl": ",".join(urls)}, method="POST")
        assert refused.refusal == (400, "InvalidParameter")
        assert "100" in refused.tree["Message"]

    def test_task_runs_from_start_to_end(self, endpoint: Endpoint, caller: Signer, domain: str) -> None:
        start, end = utc(endpoint.now() + HOUR), utc(endpoint.now() + 7 * HOUR)
        ids(
            caller, domain, "a", PreloadedStartTime=start, PreloadedEndTime=end, Area="overseas", RegionId="cn-shanghai"
        )

        [row] = described(caller, domain)
        assert (row["PreloadedStartTime"], row["PreloadedEndTime"], row["Area"]) == (start, end, "overseas")
        assert row["DomainName"] == domain

    def test_task_runs_for_an_hour_in_the_domains_own_area_unless_told(
        self, endpoint: Endpoint, caller: Signer, domain: str
    ) -> None:
        before = endpoint.now() // 1000 * 1000
        ids(caller, domain.upper(), "a")

        [row] = described(caller, domain)
        assert row["Area"] == "domestic"
        assert utc(before) <= row["PreloadedStartTime"] <= utc(endpoint.now())
        assert utc(before + HOUR) <= row["PreloadedEndTime"] <= utc(endpoint.now() + HOUR)
        assert row["CreateTime"] == row["PreloadedStartTime"]

    def test_area_without_edges_takes_nothing(
        self, endpoint: Endpoint, caller: Signer, domain: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoint.edges, "all", endpoint.edges.all[:1])
        tree = set_tasks(caller, domain, f"rtmp://{domain}/live/a", Area="overseas")

        assert (tree["Status"], tree["FailedURL"]) == ("Failed", 1)

    def test_same_stream_may_be_preloaded_by_several_tasks(self, caller: Signer, domain: str) -> None:
        assert ids(caller, domain, "a") != ids(caller, domain, "a")
        assert len(described(caller, domain, PlayUrl=f"rtmp://{domain}/live/a")) == 2

    @pytest.mark.parametrize(
        ("changed", "refusal"),
        [
            ({"DomainName": ""}, (400, "MissingDomainName")),
            ({"PlayUrl": ""}, (400, "MissingPlayUrl")),
            ({"Area": "moon"}, (400, "InvalidParameter")),
            ({"DomainName": "nobodys.example.com"}, (404, "InvalidDomain.NotFound")),
            ({"DomainName": "a\x00b"}, (404, "InvalidDomain.NotFound")),
            ({"PreloadedStartTime": "2016-06-29T19:00:00Z"}, (400, "InvalidParameter")),
            ({"PreloadedEndTime": "2016-06-29T19:00:00Z"}, (400, "InvalidParameter")),
            ({"PreloadedEndTime": "2096-06-29T19:00:00Z"}, (400, "InvalidParameter")),
            ({"PreloadedStartTime": "tomorrow"}, (400, "InvalidParameter")),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, caller: Signer, domain: str, changed: dict[str, str], refusal: tuple[int, str]
    ) -> None:
        given = {"DomainName": domain, "PlayUrl": f"rtmp://{domain}/live/a", **changed}

        assert caller.v3(SET, given).refusal == refusal
        assert described(caller, domain) == []

    def test_workers_are_told(self, endpoint: Endpoint, caller: Signer, domain: str) -> None:
        before = endpoint.hints.count
        ids(caller, domain, "a")

        assert endpoint.hints.count == before + 1


class TestDescribe:
    """Every filter, pages, and a status that is true."""

    def test_newest_first_in_pages(self, caller: Signer, domain: str) -> None:
        newest_first = [*ids(caller, domain, "a", "b"), *ids(caller, domain, "c", "d", "e")][::-1]
        pages = [
            caller.v1(DESCRIBE, {"DomainName": domain, "PageSize": "2", "PageNum": str(number)}).tree
            for number in (1, 2, 3, 4)
        ]

        assert [row["TaskId"] for page in pages for row in page["PreloadTasks"]["PreloadTask"]] == newest_first
        assert {(page["TotalNum"], page["TotalPage"], page["PageSize"]) for page in pages} == {(5, 3, 2)}
        assert [page["PageNum"] for page in pages] == [1, 2, 3, 4]

    def test_by_task_id(self, endpoint: Endpoint, caller: Signer, domain: str) -> None:
        first, _ = ids(caller, domain, "a", "b")

        assert found(caller, domain, TaskId=first) == [first]
        assert found(caller, domain, TaskId="no\x00body") == []
        other = domain_of(endpoint, endpoint.account())
        assert caller.v1(DESCRIBE, {"DomainName": other, "TaskId": first}).refusal[1] == "InvalidDomain.NotFound"

    def test_by_urls(self, caller: Signer, domain: str) -> None:
        first, _, third = ids(caller, domain, "a", "b", "c")
        urls = ", ".join(f"rtmp://{domain}/live/{name}" for name in "acx")

        assert found(caller, domain, PlayUrl=urls) == [third, first]
        page = caller.v1(DESCRIBE, {"DomainName": domain, "PlayUrl": urls, "PageSize": "1", "PageNum": "2"}).tree
        assert [row["TaskId"] for row in page["PreloadTasks"]["PreloadTask"]] == [first]
        assert (page["TotalNum"], page["TotalPage"]) == (2, 2)

    def test_by_domain(self, caller: Signer, endpoint: Endpoint, domain: str) -> None:
        stranger = Signer(endpoint, endpoint.account())
        theirs = domain_of(endpoint, stranger.account)
        mine, other = ids(caller, domain, "a"), ids(stranger, theirs, "a")

        assert (found(caller, domain), found(stranger, theirs)) == (mine, other)
        assert caller.v1(DESCRIBE, {"DomainName": theirs}).refusal == (404, "InvalidDomain.NotFound")

    def test_by_time_of_making(self, clock: Endpoint, caller: Signer, domain: str) -> None:
        now = clock.now()
        old = ids(caller, domain, "a")
        clock.ahead_ms = DAY
        new = ids(caller, domain, "a")
        between = utc(now + HOUR)

        assert found(caller, domain) == [*new, *old]
        assert found(caller, domain, EndTime=between) == old
        assert found(caller, domain, StartTime=between) == new
        assert found(caller, domain, StartTime=between, TaskId=old[0]) == []
        clock.ahead_ms = 3 * DAY + HOUR
        assert found(caller, domain) == new

    def test_by_status(self, clock: Endpoint, caller: Signer, domain: str) -> None:
        complete, preloading = ids(caller, domain, "a", "b")
        [pending] = ids(caller, domain, "c", PreloadedStartTime=utc(clock.now() + 2 * HOUR))
        warm(clock, complete, "flowing", "flowing")
        warm(clock, preloading, "flowing", "connecting", "retrying")
        rows = {
            status: {
                row["TaskId"]: (row["Status"], row["Description"], row["Process"])
                for row in described(caller, domain, Status=status)
            }
            for status in ("complete", "preloading", "pending", "failed")
        }

        well = ("Success", "Successfully")
        assert rows == {
            "complete": {complete: (*well, "100%")},
            "preloading": {preloading: (*well, "33%")},
            "pending": {pending: (*well, "0%")},
            "failed": {},
        }

    def test_after_the_end_what_was_not_warm_has_failed(self, clock: Endpoint, caller: Signer, domain: str) -> None:
        complete, failed, forgotten = ids(caller, domain, "a", "b", "c")
        clock.ahead_ms = HOUR - 5000
        warm(clock, complete, "flowing")
        warm(clock, failed, "flowing", "retrying")
        clock.ahead_ms = HOUR + 60_000
        rows = {row["TaskId"]: (row["Status"], row["Description"], row["Process"]) for row in described(caller, domain)}

        assert rows[complete] == ("Success", "Successfully", "100%")
        assert rows[failed] == ("Failed", "InternalError", "50%")
        assert rows[forgotten] == ("Failed", "InternalError", "0%")
        assert set(found(caller, domain, Status="failed")) == {failed, forgotten}

    @pytest.mark.parametrize(
        ("given", "refusal"),
        [
            ({"DomainName": ""}, (400, "MissingDomainName")),
            ({"DomainName": "nobodys.example.com"}, (404, "InvalidDomain.NotFound")),
            ({"PageSize": "0"}, (400, "InvalidParameter")),
            ({"PageSize": "101"}, (400, "InvalidParameter")),
            ({"PageSize": "ten"}, (400, "InvalidParameter")),
            ({"PageNum": "0"}, (400, "InvalidParameter")),
            ({"Status": "done"}, (400, "InvalidParameter")),
            ({"StartTime": "2016-06-29T19:00:00Z"}, (400, "InvalidParameter")),
            ({"EndTime": "2016-06-29T19:00:00Z"}, (400, "InvalidParameter")),
            ({"EndTime": "2096-06-29T19:00:00Z"}, (400, "InvalidParameter")),
            ({"StartTime": "yesterday"}, (400, "InvalidParameter")),
            ({"PlayUrl": "," * 100}, (400, "InvalidParameter")),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, caller: Signer, domain: str, given: dict[str, str], refusal: tuple[int, str]
    ) -> None:
        assert caller.v3(DESCRIBE, {"DomainName": domain, **given}).refusal == refusal
