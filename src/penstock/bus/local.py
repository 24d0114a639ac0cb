"""Run sockets: how the processes of one machine hear of each other.

Each worker and the hub listens on ``DATA/run/<incarnation>.sock`` and speaks JSON lines: first a `Hello` with
all it observes, then an `Update` each second with what changed: those tasks that did, and all of the hub's streams.
Who connects may send `{"hint": "tasks"}`. The files are found by looking; nothing is registered anywhere.

Nothing here is truth that must survive: a reader that is too slow is dropped, connects again, and is up to
date after one `Hello`.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, cast

import msgspec
import structlog

from penstock.bus import life
from penstock.bus.load import together
from penstock.tasks.model import HubStatus, Load, Observed

log = structlog.get_logger()

#: How often changes are sent, in seconds.
UPDATE_EVERY = 1.0
#: How often new sockets are looked for, in seconds.
SCAN_EVERY = 0.5
#: A reader that leaves this many bytes unread is dropped.
UNREAD_LIMIT = 8 << 20
#: A line from a reader is never longer than this many bytes.
REQUEST_LIMIT = 64 << 10


class Hello(msgspec.Struct, frozen=True):
    """The first line: who speaks, and all that it observes now."""

    kind: Literal["worker", "hub"]
    #: The incarnation.
    id: str
    pid: int
    #: Cost units that it can run; 0: it runs no tasks.
    capacity: int
    snapshot: tuple[Observed, ...]
    #: Of the hub alone.
    hub: HubStatus | None = None
    #: Cost units of what it runs.
    used: int = 0


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every further line: what changed since the line before."""

    delta: tuple[Observed, ...] = ()
    #: Keys of tasks that no longer run here.
    gone: tuple[int, ...] = ()
    #: None: as before.
    hub: HubStatus | None = None
    used: int | None = None


class Request(msgspec.Struct, frozen=True):
    """A line from a reader."""

    hint: Literal["tasks"]


_HINT = msgspec.json.encode(Request(hint="tasks")) + b"\n"


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path in few bytes: a Unix socket's address holds no more than 108."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _sockets(run: Path) -> list[Path]:
    return sorted(run.glob("*.sock"))


def _connect(path: Path) -> socket.socket:
    """A connection to a run socket. Never waits: raises OSError if nobody listens or its queue is full."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _short(path) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


class _Lines(asyncio.Protocol):
    """A connection that carries lines, each of which is `received`; none is longer than `limit` bytes, if given."""

    def __init__(self, received: Callable[[bytes], None], limit: int | None = None) -> None:
        self.transport: asyncio.Transport
        self._received = received
        self._limit = limit
        self._rest = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        try:
            for line in lines:
                self._received(bytes(line))
        except msgspec.MsgspecError as error:
            log.warning("a run socket spoke nonsense", error=str(error))
            self.transport.abort()
        if self._limit and len(self._rest) > self._limit:
            self.transport.abort()


class RunSocket:
    """What a worker or the hub tells of itself, on its own socket.

    Args:
        run: the folder ``DATA/run``.
        kind: ``worker`` or ``hub``.
        id: the incarnation, whose lock this process holds.
        snapshot: measures every status now.
        hinted: called when somebody says that tasks have changed.
        capacity: cost units that this process can run.
        hub: what the hub measured; None: this is a worker.
        used: cost units of what it runs.
    """

    def __init__(
        self,
        run: Path,
        *,
        kind: Literal["worker", "hub"],
        id: str,
        snapshot: Callable[[], Sequence[Observed]],
        hinted: Callable[[], None] = lambda: None,
        capacity: int = 0,
        hub: Callable[[], HubStatus | None] = lambda: None,
        used: Callable[[], int] = lambda: 0,
    ) -> None:
        self._path = run / f"{id}.sock"
        self._kind, self._id, self._capacity = kind, id, capacity
        self._snapshot, self._hinted, self._hub, self._used = snapshot, hinted, hub, used
        self._readers: set[_Reader] = set()
        self._told: dict[int, Observed] = {}
        self._told_hub: HubStatus | None = None
        self._told_used = 0
        self._encode = msgspec.json.Encoder().encode

    async def serve(self, listening: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled; `listening` is called when readers can connect."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(self._path) as address:
            sock.bind(address)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Reader(self), sock=sock, backlog=64)
        try:
            listening()
            while True:
                await asyncio.sleep(UPDATE_EVERY)
                self._update()
        finally:
            self._path.unlink(missing_ok=True)
            server.close()
            for reader in list(self._readers):
                reader.transport.abort()

    def welcome(self, reader: "_Reader") -> None:
        # The others are brought up to date first, so that the next update is right for all.
        self._update()
        snapshot = tuple(self._told.values())
        hello = Hello(self._kind, self._id, os.getpid(), self._capacity, snapshot, self._told_hub, self._told_used)
        reader.transport.write(self._encode(hello) + b"\n")
        self._readers.add(reader)

    def hint(self) -> None:
        self._hinted()

    def farewell(self, reader: "_Reader") -> None:
        self._readers.discard(reader)

    def _update(self) -> None:
        now = {observed.key: observed for observed in self._snapshot()}
        told, self._told = self._told, now
        told_hub, self._told_hub = self._told_hub, self._hub()
        told_used, self._told_used = self._told_used, self._used()
        if not self._readers:
            return
        delta = tuple(observed for key, observed in now.items() if told.get(key) != observed)
        gone = tuple(told.keys() - now.keys())
        hub = self._told_hub if self._told_hub != told_hub else None
        used = self._told_used if self._told_used != told_used else None
        if not (delta or gone or hub or used is not None):
            return
        line = self._encode(Update(delta, gone, hub, used)) + b"\n"
        for reader in list(self._readers):
            if reader.transport.get_write_buffer_size() > UNREAD_LIMIT:
                log.warning("a reader of the run socket is too slow and is dropped")
                reader.transport.abort()
            else:
                reader.transport.write(line)


class _Reader(_Lines):
    """The serving end of one connection."""

    _decode = msgspec.json.Decoder(Request).decode

    def __init__(self, owner: RunSocket) -> None:
        super().__init__(self._asked, REQUEST_LIMIT)
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._owner.welcome(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.farewell(self)

    def _asked(self, line: bytes) -> None:
        self._decode(line)
        self._owner.hint()


class Peer(_Lines):
    """The reading end: one worker or hub, as it last described itself."""

    _decode_hello = msgspec.json.Decoder(Hello).decode
    _decode_update = msgspec.json.Decoder(Update).decode

    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__(self._told)
        #: None until the first line has come.
        self.hello: Hello | None = None
        self.observed: dict[int, Observed] = {}
        #: None: it is no hub.
        self.hub: HubStatus | None = None
        self.used = 0
        self.known = asyncio.Event()
        self._lost = lost

    def _told(self, line: bytes) -> None:
        if self.hello is None:
            self.hello = self._decode_hello(line)
            self.observed = {observed.key: observed for observed in self.hello.snapshot}
            self.hub, self.used = self.hello.hub, self.hello.used
            self.known.set()
            return
        update = self._decode_update(line)
        self.observed.update((observed.key, observed) for observed in update.delta)
        for key in update.gone:
            self.observed.pop(key, None)
        self.hub = update.hub or self.hub
        self.used = self.used if update.used is None else update.used

    def connection_lost(self, exc: Exception | None) -> None:
        self.known.set()
        self._lost()


class RunSockets:
    """The statuses that living processes report now, and the way to hint them.

    Fulfils `LiveStatus`, `LiveHub` and `Hints`. `watch` must run meanwhile. Those that are there at the start have
    `patience` seconds to be heard.
    """

    def __init__(self, run: Path, *, patience: float = 1.0) -> None:
        self._run, self._patience = run, patience
        self._peers: dict[str, Peer] = {}
        self._scan = asyncio.Event()
        self._blind = False
        #: Set when every socket that was there at the start has told all it knows, or had its time to do so.
        self.synced = asyncio.Event()

    async def watch(self) -> None:
        """Stay connected to every run socket until cancelled."""
        try:
            await self._connect_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    for peer in list(self._peers.values()):
                        await peer.known.wait()
            self.synced.set()
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SCAN_EVERY):
                        await self._scan.wait()
                self._scan.clear()
                await self._connect_all()
        finally:
            for peer in list(self._peers.values()):
                peer.transport.abort()

    async def _connect_all(self) -> None:
        try:
            paths = _sockets(self._run)
        except OSError as error:  # no more files may be opened; whoever is known stays known
            if not self._blind:
                log.warning("new run sockets cannot be looked for", error=str(error))
            self._blind = True
            return
        self._blind = False
        for path in paths:
            if path.stem not in self._peers:
                await self._connect_one(path)

    async def _connect_one(self, path: Path) -> None:
        try:
            sock = _connect(path)
        except ConnectionRefusedError:
            life.bury(self._run)
            return
        except OSError as error:
            log.debug("a run socket cannot be reached", path=str(path), error=str(error))
            return

        def lost() -> None:
            if self._peers.get(path.stem) is peer:
                del self._peers[path.stem]
                self._scan.set()

        peer = Peer(lost)
        await asyncio.get_running_loop().create_unix_connection(lambda: peer, sock=sock)
        if not peer.transport.is_closing():
            self._peers[path.stem] = peer

    @property
    def hellos(self) -> Sequence[Hello]:
        """Who is there, as each introduced itself."""
        return [peer.hello for peer in self._peers.values() if peer.hello]

    def observed(self, key: int) -> Observed | None:
        """The newest status of a task: the highest epoch's."""
        found = [peer.observed[key] for peer in self._peers.values() if key in peer.observed]
        return max(found, key=lambda observed: (observed.epoch, observed.at), default=None)

    def waiting(self, cost: int = 1) -> str:
        """As `penstock.tasks.ports.LiveStatus.waiting`."""
        loads = self._loads().values()
        if not loads:
            return "no worker"
        if any(used + min(cost, capacity) <= capacity for used, capacity in loads):
            return ""
        needed = f", {cost} needed of one worker" if cost > 1 else ""
        return f"no capacity ({sum(used for used, _ in loads)}/{sum(room for _, room in loads)}{needed})"

    def _loads(self) -> Mapping[str, tuple[int, int]]:
        return {
            peer.hello.id: (peer.used, peer.hello.capacity)
            for peer in self._peers.values()
            if peer.hello and peer.hello.kind == "worker"
        }

    def load(self) -> Load:
        """What all workers carry now."""
        return together(
            self._loads().values(), [observed for peer in self._peers.values() for observed in peer.observed.values()]
        )

    def hub(self) -> HubStatus | None:
        """What the hub says; None: it is not there."""
        return next((peer.hub for peer in self._peers.values() if peer.hub), None)

    def tasks_changed(self) -> None:
        """Tell every process that tasks have changed in the store."""
        for peer in self._peers.values():
            if peer.hello and not peer.transport.is_closing():
                peer.transport.write(_HINT)


async def hint_all(run: Path) -> None:
    """Tell every process once that tasks have changed; within a second, or not at all."""
    loop = asyncio.get_running_loop()

    async def tell(path: Path) -> None:
        with suppress(OSError, TimeoutError), _connect(path) as sock:
            await loop.sock_sendall(sock, _HINT)
            async with asyncio.timeout(1):
                # Closed at once, the connection could break before the line is read.
                await loop.sock_recv(sock, 1)

    await asyncio.gather(*map(tell, _sockets(run)))
