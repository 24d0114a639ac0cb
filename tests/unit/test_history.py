"""Events on their way to the store: all of them as long as there is room, and then the newest."""

from penstock.worker.history import BURST, History

MINUTE = 60_000


class Time:
    """A clock that a test sets; Unix milliseconds."""

    def __init__(self) -> None:
        self.now = 1_769_853_600_000

    def __call__(self) -> int:
        return self.now


def told(history: History) -> list[str]:
    """What is written now."""
    lines = history.waiting()
    history.written(lines)
    return [line.text for line in lines]


def test_what_happens_now_and_then_is_told_at_once() -> None:
    time = Time()
    history = History(time)
    for number in range(100):
        history.add(1, "source.lost", str(number))
        assert told(history) == [str(number)]
        time.now += MINUTE


def test_side_that_flaps_is_told_of_once_a_minute_with_how_often() -> None:
    time = Time()
    history = History(time)
    lines = []
    for number in range(3600):
        history.add(1, f"source.{'lost' if number % 2 else 'flowing'}", str(number))
        lines += told(history)
        time.now += 1000
    assert lines[:BURST] == [str(number) for number in range(BURST)]
    assert len(lines) <= BURST + 60
    assert lines[BURST] == "60 (the last of 41 since 2026-01-31T10:00:20Z)"
    time.now += MINUTE
    assert told(history)[-1].startswith("3599 (the last of ")


def test_newest_event_is_told_a_minute_later_at_most() -> None:
    time = Time()
    history = History(time)
    for number in range(BURST + 2):
        history.add(1, "sink.failed", str(number))
    assert told(history)[-1] == str(BURST - 1)
    time.now += MINUTE
    assert told(history) == [f"{BURST + 1} (the last of 2 since 2026-01-31T10:00:00Z)"]
    assert told(history) == []


def test_one_side_and_one_task_take_no_room_of_another() -> None:
    history = History(Time())
    for number in range(BURST * 2):
        history.add(1, "source.lost", str(number))
    for key, name in ((1, "sink.lost"), (2, "source.lost")):
        history.add(key, name, f"{key} {name}")
    assert told(history)[BURST:] == ["1 sink.lost", "2 source.lost"]


def test_clock_that_goes_back_gives_no_room_and_takes_none() -> None:
    time = Time()
    history = History(time)
    for number in range(BURST - 1):
        history.add(1, "source.lost", str(number))
    time.now -= 60 * MINUTE
    history.add(1, "source.lost", "back")
    history.add(1, "source.lost", "too much")
    assert told(history)[-1] == "back"
    time.now += MINUTE
    assert told(history) == ["too much"]


def test_sides_that_are_quiet_are_forgotten() -> None:
    time = Time()
    history = History(time)
    for key in range(5000):
        history.add(key, "source.lost", "")
        time.now += MINUTE
    assert len(history._sides) <= 1000
