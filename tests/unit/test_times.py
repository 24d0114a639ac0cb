"""Text times become Unix milliseconds, and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tasks import times


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T10:00:00Z", 1_769_853_600_000),
        ("2026-01-31T18:00:00+08:00", 1_769_853_600_000),
        ("2026-01-31T04:30:00-05:30", 1_769_853_600_000),
        ("2026-01-31T10:00:00.5Z", 1_769_853_600_500),
        ("2026-01-31T10:00:00.123456789+00:00", 1_769_853_600_123),
        ("2028-02-29T00:00:00Z", 1_835_395_200_000),
    ],
)
def test_time_with_zone_is_understood(text: str, at: int) -> None:
    assert times.parse(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31 10:00:00Z",
        "2026-01-31T10:00:00",
        "2026-01-31T10:00Z",
        "2026-01-31T10:00:00z",
        "2026-01-31T10:00:00+0800",
        "2026-01-31T10:00:00+08:60",
        "2026-01-31T10:00:00+14:01",
        "2026-01-31T10:00:00+99:00",
        "2026-02-29T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T10:00:60Z",
        "0000-01-01T00:00:00Z",
        "\uff12\uff10\uff12\uff16-01-31T10:00:00Z",
        "2026-01-31T10:00:00Z\n",
        " 2026-01-31T10:00:00Z",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        times.parse(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_the_calendar_are_no_trap(text: str) -> None:
    assert isinstance(times.parse(text), int)


@given(
    st.integers(min_value=0, max_value=7_000_000_000_000_000),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_every_time_that_python_writes_is_read_as_the_same_moment(us: int, minutes: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert times.parse(local.isoformat()) == us // 1000


@given(st.integers(min_value=0, max_value=7_000_000_000_000))
def test_written_time_is_the_moment_in_whole_seconds(at: int) -> None:
    assert times.parse(times.text(at)) == at - at % 1000


def test_written_time_ends_in_z() -> None:
    assert times.text(1_769_853_600_999) == "2026-01-31T10:00:00Z"
