"""Which file of a playlist comes when: pure, and knows no media."""

from typing import NamedTuple

from penstock.media.plan import Playlist


class Place(NamedTuple):
    """A place in a playlist that is played."""

    #: Rounds that are complete.
    rounds: int
    #: Index of the file, from 0.
    item: int
    #: Media time in it, in ms.
    offset_ms: int = 0


class Order:
    """Goes through a playlist's files, round by round. `place` is where it is; None: the last round is over."""

    def __init__(self, playlist: Playlist) -> None:
        self.playlist = playlist
        #: A list that is taken up when the current file has ended.
        self._later: Playlist | None = None
        self.place: Place | None = self._first(playlist)

    @property
    def wanted(self) -> Playlist:
        """The list that was last asked for."""
        return self._later or self.playlist

    @property
    def is_over(self) -> bool:
        """Whether the last round is."""
        return self.place is None

    @property
    def url(self) -> str:
        """That of the file at `place`; empty: there is none."""
        return self.playlist.urls[self.place.item] if self.place else ""

    @property
    def next(self) -> Place | None:
        """What follows the file at `place`; None: nothing."""
        if self.place is None:
            return None
        if self._later is not None:
            return _bounded(self._later, Place(0, 0))
        return _bounded(self.playlist, _after(self.playlist, self.place))

    def from_here(self) -> list[tuple[Place, str]]:
        """Return `place` and those that follow, each file of the list once, with their URLs."""
        return _onward(self.playlist, self.place)

    def from_next(self) -> list[tuple[Place, str]]:
        """Return `next` and those that follow, as `from_here` does."""
        return _onward(self.wanted, self.next)

    def advance(self) -> None:
        """Go on to `next`."""
        following = self.next
        if self._later is not None:
            self.playlist, self._later = self._later, None
        self.place = following

    def settle(self, place: Place | None) -> None:
        """Be at another place of this list, or at the end; also if the list has no such round."""
        self.place = None if place is None else _bounded(self.playlist, place)

    def change(self, playlist: Playlist) -> bool:
        """Take up another list, or a change of this one; say whether what plays is to be left at once for `place`."""
        old = self.wanted
        if playlist.moved != old.moved:
            self._take_up(playlist, self._first(playlist))
            return True
        if playlist.urls == old.urls:
            if self._later is None:
                self.playlist = playlist
                if self.place is None:  # more rounds may be wanted now
                    self.place = _bounded(playlist, Place(old.rounds or 0, 0))
                    return self.place is not None
            else:
                self._later = playlist
            return False
        if playlist.finish and self.place is not None:
            self._later = playlist
            return False
        self._take_up(playlist, _bounded(playlist, Place(0, 0)))
        return True

    def _take_up(self, playlist: Playlist, place: Place | None) -> None:
        self.playlist, self._later, self.place = playlist, None, place

    @staticmethod
    def _first(playlist: Playlist) -> Place | None:
        start = playlist.start
        return _bounded(playlist, Place(0, min(start.item, len(playlist.urls) - 1), start.offset_ms))


def _after(playlist: Playlist, place: Place) -> Place:
    """Return the beginning of the file that follows in the list, the first one of the next round after the last."""
    item = place.item + 1
    return Place(place.rounds, item) if item < len(playlist.urls) else Place(place.rounds + 1, 0)


def _bounded(playlist: Playlist, place: Place) -> Place | None:
    return None if playlist.rounds is not None and place.rounds >= playlist.rounds else place


def _onward(playlist: Playlist, place: Place | None) -> list[tuple[Place, str]]:
    found: list[tuple[Place, str]] = []
    while place is not None and len(found) < len(playlist.urls):
        found.append((place, playlist.urls[place.item]))
        place = _bounded(playlist, _after(playlist, place))
    return found
