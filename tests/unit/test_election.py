"""Who is on air, by what is known of each source."""

from penstock.media.election import MOST_HEALTH, PATIENCE, RESORT_AFTER, STEADY, Cause, Election, Standing

RETURN_AFTER = 10.0


class Sources:
    """A primary, a backup and a slate as an election sees them; nothing is there at first."""

    def __init__(self, *ids: str) -> None:
        self.now = 0.0
        self.election = Election(RETURN_AFTER, 0.0)
        self._standings = {
            id_: Standing(
                id=id_, flowing_since=None, ready=False, opportune=False, failed=False, last_resort=id_ == "slate"
            )
            for id_ in ids or ("source", "backup")
        }

    def up(self, source: str) -> "Sources":
        """It has media, and what is kept of it begins with a keyframe."""
        return self._now(source, flowing_since=self.now, ready=True, failed=False)

    def down(self, source: str, cause: Cause = Cause.CLOSED) -> "Sources":
        """It is gone."""
        self._now(source, flowing_since=None, ready=False, failed=True)
        if self.election.on_air == source:
            self.election.lost(self.now, cause)
        return self

    def keyframe(self, source: str) -> tuple[str, Cause] | None:
        """It sends a keyframe; who comes on air at this moment?"""
        self._now(source, opportune=True)
        chosen = self.choose()
        self._now(source, opportune=False)
        return chosen

    def _now(self, source: str, **known: object) -> "Sources":
        self._standings[source] = self._standings[source]._replace(**known)  # type: ignore[arg-type]
        return self

    def choose(self, *, bound: bool = False) -> tuple[str, Cause] | None:
        """Who comes on air? What is chosen is sent at once."""
        flows = self.election.on_air is not None and self._standings[self.election.on_air].flowing_since is not None
        return self.election.choose(self.now, list(self._standings.values()), flows=flows, bound=bound)

    def after(self, seconds: float) -> "Sources":
        self.now += seconds
        return self


def test_the_preferred_source_begins() -> None:
    """Although the backup is there sooner."""
    sources = Sources().up("backup")
    assert sources.choose() is None
    assert sources.after(PATIENCE / 2).up("source").choose() == ("source", Cause.FAILED)
    assert sources.choose() is None


def test_a_source_that_cannot_be_had_is_not_awaited() -> None:
    """Refused: at once. Neither yes nor no: for a while."""
    assert Sources().up("backup").down("source").choose() == ("backup", Cause.FAILED)
    silent = Sources().up("backup")
    assert silent.after(PATIENCE - 0.1).choose() is None
    assert silent.after(0.2).choose() == ("backup", Cause.FAILED)


def lost_after_a_minute(cause: Cause = Cause.CLOSED) -> Sources:
    """Both are there, the first is on air, then it is gone."""
    sources = Sources().up("source").up("backup")
    sources.choose()
    sources.choose()
    return sources.after(STEADY).down("source", cause)


def test_a_lost_source_is_replaced_at_once() -> None:
    """The cause is said."""
    for cause in (Cause.CLOSED, Cause.STALLED):
        assert lost_after_a_minute(cause).choose() == ("backup", cause)


def test_the_primary_returns_at_a_keyframe_when_it_has_been_healthy() -> None:
    """Not before; not without a keyframe; the backup never drives it out."""
    sources = lost_after_a_minute()
    assert sources.choose() == ("backup", Cause.CLOSED)
    sources.after(3).up("source")
    assert sources.after(RETURN_AFTER - 0.1).keyframe("source") is None
    assert sources.after(0.2).choose() is None
    assert sources.keyframe("source") == ("source", Cause.RETURNED)
    assert sources.after(100).keyframe("backup") is None


def test_a_primary_that_is_back_takes_over_at_once_from_a_backup_that_goes() -> None:
    """Anything is better than nothing."""
    sources = lost_after_a_minute()
    sources.choose()
    assert sources.up("source").after(1).choose() is None
    assert sources.down("backup", Cause.STALLED).choose() == ("source", Cause.STALLED)


def returns(sources: Sources) -> float:
    """Let the primary be lost and come back; return for how long it was healthy before it was on air again."""
    sources.down("source").choose()
    sources.after(1).up("source")
    begun = sources.now
    while sources.keyframe("source") is None:
        sources.after(1)
    return sources.now - begun


def test_one_that_flaps_must_be_healthy_for_longer_each_time() -> None:
    """Until it has been well for a minute; there is a bound."""
    sources = lost_after_a_minute()
    waits = [returns(sources.after(5)) for _ in range(7)]
    assert waits == [RETURN_AFTER * 2**n for n in range(5)] + [MOST_HEALTH] * 2
    assert returns(sources.after(STEADY)) == RETURN_AFTER


def test_another_source_in_its_place_is_not_mistrusted() -> None:
    """The caller knows what he does."""
    sources = lost_after_a_minute()
    sources.choose()
    sources.election.renew("source")
    assert sources.up("source").keyframe("source") == ("source", Cause.RETURNED)


def test_a_backup_that_must_be_played_to_its_end_is() -> None:
    """A file: the primary is asked for when it is over."""
    sources = lost_after_a_minute()
    sources.choose()
    sources.up("source").after(100)
    sources._now("source", opportune=True)
    assert sources.choose(bound=True) is None
    assert sources.choose(bound=False) == ("source", Cause.RETURNED)


def test_a_slate_is_for_when_there_is_nothing_else() -> None:
    """It comes half a second after the loss, and goes for whoever can come in."""
    sources = Sources("source", "slate").up("source").up("slate")
    sources.choose()
    sources.choose()
    sources.after(9).down("source")
    assert sources.choose() is None
    assert sources.after(RESORT_AFTER).choose() == ("slate", Cause.CLOSED)
    assert sources.after(1).choose() is None
    assert sources.up("source").choose() == ("source", Cause.RETURNED)


def test_a_backup_comes_before_a_slate() -> None:
    """And keeps its place against it."""
    sources = Sources("source", "backup", "slate").up("source").up("backup").up("slate")
    sources.choose()
    sources.choose()
    assert sources.after(STEADY).down("source").after(1).choose() == ("backup", Cause.CLOSED)
    assert sources.after(100).keyframe("slate") is None


def test_one_that_was_chosen_has_its_time_to_begin() -> None:
    """Two that offer themselves in turn do not drive each other out before either is seen."""
    election = Election(RETURN_AFTER, 0.0)
    first, second = (Standing(id_, 0.0, True, True, False) for id_ in ("source", "backup"))
    assert election.choose(0.0, [first, second], flows=False) == ("source", Cause.FAILED)
    idle = first._replace(ready=False)
    assert election.choose(PATIENCE - 0.1, [idle, second], flows=False) is None
    assert election.choose(PATIENCE + 0.1, [idle, second], flows=False) == ("backup", Cause.FAILED)
    assert election.choose(PATIENCE + 0.2, [first, second], flows=False) == ("source", Cause.FAILED)
