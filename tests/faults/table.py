"""The faults that were played, as a table: rounds, and the worst of each figure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

_HEAD = (
    "fault",
    "rounds",
    "lost frames",
    "… elsewhere",
    "back (s)",
    "promised",
    "truth (s)",
    "lost changes",
    "doubled",
)


def lines(played: Iterable[tuple[str, Mapping[str, float]]]) -> Sequence[str]:
    """One line for each fault, in the order of their names; below a heading."""
    costs: defaultdict[str, list[Mapping[str, float]]] = defaultdict(list)
    for fault, cost in played:
        costs[fault].append(cost)
    rows = [_HEAD, *(_row(fault, rounds) for fault, rounds in sorted(costs.items()))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_cells(row, widths)) for row in rows]


def _row(fault: str, rounds: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    def worst(figure: str) -> float:
        return max(cost[figure] for cost in rounds)

    changes = f"{sum(cost['lost_changes'] for cost in rounds)} of {sum(cost['changes'] for cost in rounds)}"
    seconds = (f"{worst(figure):.1f}" for figure in ("back", "promised", "truth"))
    doubled = sum(cost["double_runs"] for cost in rounds)
    return (fault, str(len(rounds)), str(worst("lost")), str(worst("lost_elsewhere")), *seconds, changes, str(doubled))


def _cells(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    yield row[0].ljust(widths[0])
    for cell, width in zip(row[1:], widths[1:], strict=True):
        yield cell.rjust(width)
