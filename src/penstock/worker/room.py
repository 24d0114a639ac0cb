"""What still fits into a worker."""

from collections.abc import Callable

from penstock.tasks.model import Task


class Room:
    """A worker's capacity and what is in it, in cost units.

    Tasks of one affinity share what they run: the largest of them counts, and the others always fit. A task that is
    larger than the capacity has all of it to itself.
    """

    def __init__(self, capacity: int, cost: Callable[[Task], int]) -> None:
        """`cost`: of one task."""
        self._capacity, self._cost = capacity, cost
        #: By affinity, or by key where there is none.
        self._costs: dict[str | int, int] = {}

    @property
    def used(self) -> int:
        return sum(self._costs.values())

    @property
    def may_take(self) -> bool:
        """Whether anything might fit."""
        return self.used < self._capacity or any(isinstance(who, str) for who in self._costs)

    def put(self, task: Task) -> None:
        """It is in here, whether it fits or not."""
        who = task.affinity or task.key
        self._costs[who] = max(self._costs.get(who, 0), min(self._cost(task), self._capacity))

    def take(self, task: Task) -> bool:
        """Put a task in, if it fits."""
        shared = bool(task.affinity) and task.affinity in self._costs
        fits = shared or self.used + min(self._cost(task), self._capacity) <= self._capacity
        if fits:
            self.put(task)
        return fits
