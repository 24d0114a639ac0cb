"""What all workers carry together, from what each reports. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from penstock.tasks.model import Load, NodeStatus, Observed, SinkLoad


def together(loads: Collection[tuple[int, int]], seen: Collection[Observed]) -> Load:
    """The load of workers whose cost units are these (in use, in all), and who run what is `seen`."""
    return Load(
        workers=len(loads),
        used=sum(used for used, _ in loads),
        capacity=sum(room for _, room in loads),
        states=Counter(observed.state for observed in seen),
        playlists=Counter(observed.state for observed in seen if observed.playback is not None),
        on_air=Counter(observed.on_air for observed in seen if observed.on_air),
        switches=_switches(seen),
        sinks=_sinks(seen),
    )


def _switches(seen: Iterable[Observed]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for observed in seen:
        total.update(observed.switches)
    return total


def _sinks(seen: Iterable[Observed]) -> Mapping[str, SinkLoad]:
    sinks: dict[str, list[NodeStatus]] = {}
    for observed in seen:
        for sink in observed.sinks:
            sinks.setdefault(sink.id, []).append(sink)
    return {
        id_: SinkLoad(states=Counter(sink.state for sink in same), bitrate=sum(sink.bitrate for sink in same))
        for id_, same in sinks.items()
    }
