"""Virtual time: one clock, and an event loop for each process that lives by it. No loop ever waits or does real I/O.

A process that is frozen is a loop that is not stepped; one that is killed is a loop that is dropped.
"""

import asyncio
import heapq
import itertools
import math
import socket
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any

#: How long one round of callbacks takes, in seconds: so no timer is due in the moment in which it is set.
STEP = 1e-6
#: How many rounds of callbacks a loop may take before others have their turn.
ROUNDS = 10
#: Rounds within a second that are too many.
SPIN = 50_000

Factory = Coroutine[Any, Any, Any]


class StuckError(AssertionError):
    """Nothing is left that could happen."""


class Clock:
    """The time that all loops share, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory, so that every run is alike."""

    def __init__(self, coro: Factory, *, number: int, **more: Any) -> None:
        self._number = number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class Loop(asyncio.BaseEventLoop):
    """The event loop of one process."""

    def __init__(self, clock: Clock, on_defect: Callable[[str], None]) -> None:
        super().__init__()
        self._clock = clock
        self._numbers = itertools.count()
        self._tasks: set[_Task] = set()
        self.set_task_factory(self._new_task)
        #: (when, order, handle)
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.set_exception_handler(lambda _, context: on_defect(f"{context['message']}: {context.get('exception')!r}"))
        self.frozen = False

    def _new_task(self, _loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        task = _Task(coro, loop=self, number=next(self._numbers), **more)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that are not done, oldest first."""
        return sorted(self._tasks, key=hash)

    def time(self) -> float:
        return self._clock.now

    # -- sockets that are none, see `tests.sim.network`

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        await sock.send_all(bytes(data))

    async def sock_recv(self, sock: Any, n: int) -> bytes:
        data: bytes = await sock.receive(n)
        return data

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        """Every name is one public address, the name itself travels beside it."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address_of(host), port))]

    # -- callbacks

    # Plainer than those of `BaseEventLoop`, and timers are tuples, which are compared faster than handles are.

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._clock.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    # -- stepping

    @property
    def due(self) -> float | None:
        """When there is something to do; None: never."""
        if self._ready:  # type: ignore[attr-defined]
            return self._clock.now
        return self._timers[0][0] if self._timers else None

    def step(self) -> int:
        """Do what is due and what follows from it; also from within another loop's step. Returns in how many rounds."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        ready, timers, clock = self._ready, self._timers, self._clock  # type: ignore[attr-defined]
        end = clock.now + STEP
        while timers and timers[0][0] <= end:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        rounds = 0
        try:
            while ready and rounds < ROUNDS:
                rounds += 1
                clock.now += STEP
                for _ in range(len(ready)):
                    handle = ready.popleft()
                    if not handle._cancelled:
                        handle._run()
        finally:
            events._set_running_loop(outer)
        return rounds

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to count: a timer that is cancelled goes when its time has come."""


_ADDRESSES: dict[str, str] = {}
HOSTS: dict[str, str] = {}


def address_of(host: str) -> str:
    """The address of a simulated host."""
    if host not in _ADDRESSES:
        number = len(_ADDRESSES)
        _ADDRESSES[host] = address = f"8.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        HOSTS[address] = host
    return _ADDRESSES[host]


class Clockwork:
    """All processes of a world, stepped in the order of their times."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.loops: list[Loop] = []
        #: What nobody caught.
        self.defects: list[str] = []

    def process(self) -> Loop:
        """One more event loop."""
        loop = Loop(self.clock, self.defects.append)
        self.loops.append(loop)
        return loop

    def drop(self, loop: Loop) -> None:
        """Let a process be gone at once: whatever its coroutines would do to end in order meets nobody."""
        self.loops.remove(loop)
        loop.set_exception_handler(lambda *_: None)
        for _ in range(100):
            if not loop.tasks:
                break
            for task in loop.tasks:
                task.cancel()
            while loop._ready:  # type: ignore[attr-defined]
                loop.step()
        loop.close()

    def run(self, work: asyncio.Task[Any]) -> None:
        """Live until `work` is done; raises what it raises."""
        clock, loops = self.clock, self.loops
        rounds, since = 0, clock.now
        while not work.done():
            soonest, when = None, math.inf
            for loop in loops:
                if not loop.frozen and (due := loop.due) is not None and due < when:
                    soonest, when = loop, due
            if soonest is None:
                raise StuckError("nothing is left to happen")
            if when > clock.now:
                clock.now = when
            rounds += soonest.step()
            if clock.now - since > 1:
                rounds, since = 0, clock.now
            elif rounds > SPIN:
                raise StuckError(f"{rounds} rounds within {clock.now - since:.3f} s")
        work.result()
