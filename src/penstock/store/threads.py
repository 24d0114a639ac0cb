"""Threads that carry out calls for an event loop.

The standard library's executor makes two futures and takes three locks for each call, which costs more than most
reads; here a call costs one of each.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Threads:
    """So many threads; they take calls in the order of their coming."""

    def __init__(self, number: int, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Whoever wants the last calls carried out closes; a program that forgot to can still end.
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{one}", daemon=True) for one in range(number)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Once begun, it is carried out even if nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((call, loop, future))
        return await future

    def close(self) -> None:
        """Wait until all calls are carried out. More than once is fine."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while job := self._jobs.get():
            call, loop, future = job
            if future.cancelled():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whoever asked shall have it
                _tell(loop, future, future.set_exception, error)
            else:
                _tell(loop, future, future.set_result, result)
            del job, call, future  # or they would live as long as this thread waits


def _tell(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", set_it: Callable[[Any], None], value: Any
) -> None:
    def tell() -> None:
        if not future.done():  # nobody waits any more
            set_it(value)

    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(tell)
