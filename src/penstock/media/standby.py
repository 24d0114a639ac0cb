"""What a source has sent that is not on air: its headers and its newest GOP, from which it can come in at once."""

from copy import deepcopy
from typing import NamedTuple

from penstock.media.clocks import Clocks
from penstock.media.pace import MAX_LEAD
from penstock.media.packet import AUDIO, MAX_EXTRAS, VIDEO, Kind, extra_key
from penstock.media.stream import GOP_BYTES, GOP_SPAN, Entry

#: A server sends the GOP that it has kept as fast as it can: while media comes more than this faster than it plays.
_BURST = 2.0
#: How often it is looked whether that is over, in seconds, and how many times at most.
LOOK_EVERY = 0.05
_LOOKS = 20
#: ms.
_ROUNDING = 0.5
_MEDIA = (Kind.KEYFRAME, Kind.FRAME, Kind.SOUND)


class _Kept(NamedTuple):
    #: In ms, without jumps.
    time: int
    entry: Entry


class Standby:
    """What is kept of one connection of a source.

    Until it has been found out that all has come that there was (`settle`), everything is; then the newest GOP, up to
    10 s and 16 MB, and nothing of one that is larger. While the source is on air only its headers are, and its
    `clocks` are followed by the output's Timeline.
    """

    def __init__(self) -> None:
        self.clocks = Clocks()
        #: The clocks as they were before the first message that is kept.
        self._clocks_before = self.clocks
        self._headers: dict[object, Entry] = {}
        self._media: list[_Kept] = []
        #: Bytes of what is kept beside the headers.
        self.size = 0
        #: Whether a keyframe is among them.
        self._keyed = False
        self._settled = False
        self._on_air = False
        #: By message type, the time of its first message and of its newest.
        self._first: dict[int, int] = {}
        self._newest: dict[int, int] = {}
        self._span = 0
        self._looks = 0
        #: How much of what came last was due while nothing came, in ms.
        self._owed = 0.0

    def unsettle(self, pause: float) -> bool:
        """Nothing has come for `pause` ms, so what comes now may be much at once: how old it is will be known when that
        is over. Say whether this is new."""
        was, self._settled = self._settled, False
        self._owed = min(pause, MAX_LEAD)
        self._trim()
        self._first = {}
        self._span = self._looks = 0
        return was

    def take(self, type_: int, time: int, payload: bytes, kind: Kind) -> bool:
        """Keep a message, if it is worth it; say whether the source could begin with it."""
        entry = (type_, time, payload, kind)
        if kind in (Kind.HEADER, Kind.METADATA, Kind.EXTRA_HEADER):
            self._note(entry)
        elif kind is not Kind.NOTHING and not self._on_air:
            self._keep(entry)
            return kind is self._beginning
        return False

    def _note(self, entry: Entry) -> None:
        type_, _, payload, kind = entry
        key = extra_key(type_, payload) if kind is Kind.EXTRA_HEADER else (kind, type_)
        before = self._headers.get(key)
        if before is not None and before[2] != payload and kind is Kind.HEADER:
            self._clear()  # it wants the one before
        if kind is Kind.HEADER and type_ == AUDIO:
            self.clocks.announce(payload)
        if before is not None or len(self._headers) < MAX_EXTRAS + 3:
            self._headers[key] = entry

    def _keep(self, entry: Entry) -> None:
        type_, timestamp, payload, kind = entry
        is_beginning = kind is Kind.KEYFRAME and self._settled
        if is_beginning or not self._media:
            self._clocks_before = deepcopy(self.clocks)
        if kind in _MEDIA:
            time = self._newest[type_] = self.clocks.take(type_, timestamp)
            self._first.setdefault(type_, time)
        else:
            time = max(self._newest.values(), default=0)
        if is_beginning:
            self._begin_with(time)
        self._keyed = self._keyed or kind is Kind.KEYFRAME
        if not self._keyed and kind is not Kind.SOUND:
            return  # nobody can show it
        self._media.append(_Kept(time, entry))
        self.size += len(payload)
        if self._settled:
            self._trim()

    def _trim(self) -> None:
        """Keep no more than is allowed."""
        media = self._media
        if not media:
            return
        newest = media[-1].time
        if self._keyed:
            if self.size > GOP_BYTES or newest - media[0].time > GOP_SPAN:
                self._clear()
            return
        while self.size > GOP_BYTES or newest - media[0].time > MAX_LEAD:
            oldest = media.pop(0)
            self.size -= len(oldest.entry[2])
            _follow(self._clocks_before, oldest.entry)

    def _begin_with(self, time: int) -> None:
        """Forget what came before a keyframe, but for the sound that is heard after it."""
        self._media = [one for one in self._media if _is_heard(one, time)]
        self.size = sum(len(one.entry[2]) for one in self._media)

    def _clear(self) -> None:
        self._media.clear()
        self.size = 0
        self._keyed = False

    def settle(self) -> bool:
        """Say whether all has come that its server had kept; to be asked every `LOOK_EVERY` seconds."""
        if not self._first or self._settled:
            return self._settled
        leading = self._leading
        if leading in self._first:
            before, self._span = self._span, self._newest[leading] - self._first[leading]
        else:
            before = self._span
        self._looks += 1
        paced = self._looks > 1 and self._span - before <= _BURST * LOOK_EVERY * 1000
        self._settled = paced or self._looks == _LOOKS or self.size > GOP_BYTES
        return self._settled

    def entrance(self, lead: float, *, opportune: bool = False) -> int | None:
        """Return at which of the messages kept the source could come in now; None: at none of them.

        It is the first keyframe (without pictures: sound) that leaves the output, now `lead` ms ahead of the wall, at
        most `MAX_LEAD` ahead of it, or one that has just come: with the newest message, or, of a source that sends in
        bursts, with the one that is over now (`opportune`). The newest picture lasts, and the next may be due at once:
        those two count.
        """
        if not self._settled:
            return None
        leading = self._leading
        wanted, newest = self._beginning, self._newest.get(leading, 0)
        just_come = max(self._owed, _ROUNDING) if opportune else _ROUNDING
        most = max(MAX_LEAD - 2 * self.clocks[leading].step - lead, just_come)
        for at, (time, entry) in enumerate(self._media):
            if entry[3] is wanted and max(0, newest - time) <= most:
                return at
        return None

    def release(self, at: int | None) -> list[Entry]:
        """Go on air: return the headers, then what was kept from message `at` on, and is heard with it.

        The clocks go back to where they were before that.
        """
        media, self._on_air = self._media, True
        entries = list(self._headers.values())
        if at is not None and media:
            self.clocks = self._clocks_before
            for one in media[:at]:
                if _is_heard(one, media[at].time):
                    entries.append(one.entry)
                else:
                    _follow(self.clocks, one.entry)
            entries += [one.entry for one in media[at:]]
        self._media = []
        self._clear()
        return entries

    def resume(self) -> None:
        """Stand by again, after having been on air: from the next keyframe on."""
        self._on_air, self._settled = False, True
        self._first, self._newest = {}, {}

    @property
    def _leading(self) -> int:
        """The kind that says how far its media has come: pictures, if there are any."""
        return VIDEO if VIDEO in self._newest or (Kind.HEADER, VIDEO) in self._headers else AUDIO

    @property
    def _beginning(self) -> Kind:
        """What it can begin with."""
        return Kind.KEYFRAME if self._leading == VIDEO else Kind.SOUND


def _follow(clocks: Clocks, entry: Entry) -> None:
    type_, time, _, kind = entry
    if kind in _MEDIA:
        clocks.take(type_, time)


def _is_heard(one: _Kept, after: int) -> bool:
    """Whether a sound that came before a picture is heard after it: encoders are at most so far apart with the two."""
    return one.entry[3] is Kind.SOUND and 0 <= one.time - after <= MAX_LEAD
