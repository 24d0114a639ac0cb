"""What happens to tasks, on its way to the store: bounded, and without endless repetition."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from penstock.tasks.ports import Clock
from penstock.tasks.times import text as time_text

#: Events kept while the store cannot take them; older ones are lost.
KEPT = 1000
#: A task's source, and so its sink, may leave so many events at once, and then one in so many milliseconds.
BURST, EVERY = 20, 60_000
#: So many sides may be remembered before those that are quiet are forgotten.
_SIDES = 1000


class Line(NamedTuple):
    """An event on its way to the store."""

    key: int
    at: int
    name: str
    text: str


class Side:
    """How much one side of a task has said lately, and what it is kept from saying."""

    def __init__(self, now: int) -> None:
        self._room, self._at = float(BURST), now
        #: The newest event that there was no room for, how many there were, and since when.
        self.held: Line | None = None
        self.number = self.since = 0

    def may_speak(self, now: int) -> bool:
        """Whether there is room for one more event; if so, it is taken."""
        self._refill(now)
        if self._room < 1:
            return False
        self._room -= 1
        return True

    def is_quiet(self, now: int) -> bool:
        """Whether it has said nothing for so long that it need not be remembered."""
        self._refill(now)
        return self._room == BURST and self.held is None

    def _refill(self, now: int) -> None:
        self._room = min(float(BURST), self._room + max(0, now - self._at) / EVERY)
        self._at = now

    def hold(self, line: Line) -> None:
        """Keep an event for which there is no room in the place of the one before it."""
        if self.held is None:
            self.number, self.since = 0, line.at
        self.held, self.number = line, self.number + 1

    def let_go(self, now: int) -> Line | None:
        """The newest event that was held, which tells of the others, when there is room for it."""
        line = self.held
        if line is None or not self.may_speak(now):
            return None
        self.held = None
        others = f" (the last of {self.number} since {time_text(self.since)})" if self.number > 1 else ""
        return line._replace(text=line.text + others)


class History:
    """Events of tasks, until the store has taken them. The oldest go first when they are too many.

    A side that flaps for days is told of once a minute, with how often, so that it does not push everything else
    out of the task's history. The newest event is always told, a minute later at most.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._sides: dict[tuple[int, str], Side] = {}
        self._holding: set[tuple[int, str]] = set()

    def add(self, key: int, name: str, text: str) -> None:
        """`name` is stable and begins with its side: ``source.lost``, ``sink.backup.lost``; `text` is for people,
        secrets masked.
        """
        now = self._clock()
        line, which = Line(key, now, name, text), (key, name.rpartition(".")[0])
        side = self._sides.get(which)
        if side is None:
            self._forget_quiet(now)
            side = self._sides[which] = Side(now)
        if side.held is None and side.may_speak(now):
            self._lines.append(line)
        else:
            side.hold(line)
            self._holding.add(which)

    def waiting(self) -> list[Line]:
        """What is to be written now, oldest first."""
        now = self._clock()
        for which in list(self._holding):
            if line := self._sides[which].let_go(now):
                self._lines.append(line)
                self._holding.discard(which)
        return list(self._lines)

    def written(self, lines: Sequence[Line]) -> None:
        """Forget these, as far as they have not gone already."""
        for line in lines:
            if self._lines and self._lines[0] is line:
                self._lines.popleft()

    def _forget_quiet(self, now: int) -> None:
        if len(self._sides) >= _SIDES:
            self._sides = {which: side for which, side in self._sides.items() if not side.is_quiet(now)}
