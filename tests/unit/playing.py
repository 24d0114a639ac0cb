"""A playlist that is played by real children from a real server, as fast as it goes: its clock is the test's."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.app import transports
from penstock.errors import MediaError
from penstock.media.files.order import Place
from penstock.media.files.player import Player
from penstock.media.framing import flv, flv_header
from penstock.media.packet import AUDIO, VIDEO, Kind, kind_of
from penstock.media.plan import Playlist
from penstock.media.pump import Pump
from penstock.net import Policy
from tests.file_server import FileServer
from tests.patience import PATIENCE

#: Seconds by which the clock goes on in each tick, unless the player waits for a file.
_STEP = 0.1
_MEDIA = (Kind.KEYFRAME, Kind.FRAME, Kind.SOUND)


class Playing:
    """A player that runs, and what it has put out: (type, timestamp in ms, payload, kind)."""

    def __init__(self, server: FileServer, copies: Path | None = None, *, transcode: bool = True) -> None:
        self.server = server
        self.entries: list[tuple[int, int, bytes, Kind]] = []
        self.events: list[tuple[str, str]] = []
        #: Why each run ended.
        self.ends: list[str] = []
        #: Its clock, in seconds.
        self.now = 0.0
        #: Whether the clock waits for files.
        self.patient = True
        self._pump = Pump(tick=0.001)
        policy = Policy([ipaddress.ip_network("127.0.0.0/8")])
        limit = 1 << 30 if copies else 0
        self._made = transports(policy, self._pump, copies=copies or Path(), copies_limit=limit, transcode=transcode)
        self.player: Player | None = None
        self._pump.each_tick(self._go_on)

    def start(self, playlist: Playlist, place: Place | None = None) -> None:
        """Begin to play; `place`: where an earlier run was."""
        leaf = self._made.source(playlist, lambda name, text: self.events.append((name, text)))
        assert isinstance(leaf, Player)
        leaf.pace(lambda: self.now)
        if place is not None:
            leaf.resume(place)
        self.player = leaf
        self._task = asyncio.create_task(self._run(leaf))

    async def _run(self, leaf: Player) -> None:
        try:
            await leaf.run(lambda _: None, self._take)
        except MediaError as error:
            self.ends.append(error.message)

    def again(self) -> None:
        """Run the player once more, as its supervisor would."""
        assert self.player is not None
        self._task = asyncio.create_task(self._run(self.player))

    def _go_on(self) -> None:
        if not (self.patient and self.player and self.player.is_waiting):
            self.now += _STEP

    def _take(self, type_: int, time: int, payload: bytes) -> None:
        kind = kind_of(type_, payload)
        self.entries.append((type_, time, payload, kind))

    async def until(self, condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.002)

    async def ended(self, timeout: float = PATIENCE) -> str:
        """Wait for the end of the run; return its reason."""
        await self.until(lambda: self.ends, timeout)
        return self.ends[-1]

    async def close(self) -> None:
        """End it."""
        if self.player is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._pump.close()

    def names(self, start: str = "") -> list[str]:
        """The names of the events."""
        return [name for name, _ in self.events if name.startswith(start)]

    def told(self, name: str) -> list[str]:
        """What the events of one name say."""
        return [text for which, text in self.events if which == name]

    def write(self, path: Path) -> Path:
        """What has come out, as an FLV file."""
        with path.open("wb") as file:
            file.write(flv_header(audio=True, video=True))
            for type_, time, payload, _ in self.entries:
                file.write(flv(type_, time, payload))
        return path

    def times(self, type_: int = VIDEO) -> list[int]:
        """DTS of all pictures, or sounds, in ms."""
        return [time for which, time, _, kind in self.entries if which == type_ and kind in _MEDIA]

    @property
    def in_order(self) -> bool:
        """Whether DTS rises strictly per kind."""
        return all(times == sorted(set(times)) for times in (self.times(VIDEO), self.times(AUDIO)))


@asynccontextmanager
async def playing(
    files: Mapping[str, Path], *, copies: Path | None = None, transcode: bool = True
) -> AsyncIterator[Playing]:
    """A player, and a server of these files: ``/NAME`` with the file's own ending."""
    served = {f"/{name}{path.suffix}": path for name, path in files.items()}
    async with FileServer(served) as server:
        player = Playing(server, copies, transcode=transcode)
        try:
            yield player
        finally:
            await player.close()
