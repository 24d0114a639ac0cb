"""What a source has sent that is not on air: its headers and its newest GOP, from which it can come in at once."""

from penstock.media.pace import MAX_LEAD
from penstock.media.packet import AUDIO, MAX_EXTRAS, VIDEO, Kind, extra_key
from penstock.media.stream import GOP_BYTES, GOP_SPAN, Entry

#: A server sends the GOP that it has kept as fast as it can: while media comes more than this faster than it plays.
_BURST = 2.0
#: How often it is looked whether that is over, in seconds, and how many times at most.
LOOK_EVERY = 0.05
_LOOKS = 20
_WRAP = 1 << 32
_MEDIA = (Kind.KEYFRAME, Kind.FRAME, Kind.SOUND)


class Standby:
    """What is kept of one connection of a source. Times are its own, in ms modulo 2^32.

    Until it has been found out that its server has sent all it had kept (`settle`), everything is; then the newest GOP,
    up to 10 s and 16 MB, and nothing of one that is larger. While the source is on air only its headers are.
    """

    def __init__(self) -> None:
        self._headers: dict[object, Entry] = {}
        self._media: list[Entry] = []
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

    def take(self, type_: int, time: int, payload: bytes, kind: Kind) -> bool:
        """Keep a message, if it is worth it; say whether the source could begin with it."""
        entry = (type_, time, payload, kind)
        if kind in (Kind.HEADER, Kind.METADATA, Kind.EXTRA_HEADER):
            self._note(entry)
        elif kind is not Kind.NOTHING and not self._on_air:
            if kind in _MEDIA:
                self._first.setdefault(type_, time)
                self._newest[type_] = time
            self._keep(entry)
            return kind is self._beginning
        return False

    def _note(self, entry: Entry) -> None:
        type_, _, payload, kind = entry
        key = extra_key(type_, payload) if kind is Kind.EXTRA_HEADER else (kind, type_)
        before = self._headers.get(key)
        if before is not None and before[2] != payload and kind is Kind.HEADER:
            self._clear()  # it wants the one before
        if before is not None or len(self._headers) < MAX_EXTRAS + 3:
            self._headers[key] = entry

    def _keep(self, entry: Entry) -> None:
        kind = entry[3]
        if kind is Kind.KEYFRAME:
            if self._settled:
                self._begin_with(entry[1])
            self._keyed = True
        elif kind is not Kind.SOUND and not self._keyed:
            return  # nobody can show it
        self._media.append(entry)
        self.size += len(entry[2])
        if not self._settled:
            return
        if not self._keyed:
            while self.size > GOP_BYTES or _after(self._media[0][1], entry[1]) > MAX_LEAD:
                self.size -= len(self._media.pop(0)[2])
        elif self.size > GOP_BYTES or _after(self._media[0][1], entry[1]) > GOP_SPAN:
            self._clear()

    def _begin_with(self, time: int) -> None:
        """Forget what came before a keyframe, but for the sound that is heard after it."""
        self._media = [one for one in self._media if one[3] is Kind.SOUND and _after(time, one[1]) >= 0]
        self.size = sum(len(payload) for _, _, payload, _ in self._media)

    def _clear(self) -> None:
        self._media.clear()
        self.size = 0
        self._keyed = False

    def settle(self) -> bool:
        """Say whether all has come that its server had kept; to be asked every `LOOK_EVERY` seconds."""
        if not self._newest or self._settled:
            return self._settled
        leading = self._leading
        if leading in self._newest:
            before, self._span = self._span, _after(self._first[leading], self._newest[leading])
        else:
            before = self._span
        self._looks += 1
        paced = self._looks > 1 and self._span - before <= _BURST * LOOK_EVERY * 1000
        self._settled = paced or self._looks == _LOOKS or self.size > GOP_BYTES
        return self._settled

    def entrance(self, lead: float) -> int | None:
        """Return at which of the messages kept the source could come in now; None: at none of them.

        It is the first keyframe (without pictures: sound) that leaves the output, now `lead` ms ahead of the wall, at
        most `MAX_LEAD` ahead of it.
        """
        if not self._settled:
            return None
        wanted, newest = self._beginning, self._newest.get(self._leading, 0)
        for at, (_, time, _, kind) in enumerate(self._media):
            if kind is wanted and lead + max(0, _after(time, newest)) <= MAX_LEAD:
                return at
        return None

    def release(self, at: int | None) -> list[Entry]:
        """Go on air: return the headers, then what was kept from message `at` on, and is heard with it."""
        media, self._on_air = self._media, True
        entries = list(self._headers.values())
        if at is not None and media:
            begin = media[at][1]
            entries += [one for one in media[:at] if one[3] is Kind.SOUND and _after(begin, one[1]) >= 0]
            entries += media[at:]
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


def _after(time: int, other: int) -> int:
    """Return how much later `other` is than `time`, both modulo 2^32, in ms."""
    return (other - time + (_WRAP >> 1)) % _WRAP - (_WRAP >> 1)
