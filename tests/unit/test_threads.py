"""The store's threads: calls are carried out in order, and answered in the loop that asked."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from penstock.store.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(1, "test")
    yield threads
    threads.close()


async def test_a_call_runs_in_another_thread_and_its_result_comes_back(threads: Threads) -> None:
    assert await threads.run(threading.current_thread) is not threading.current_thread()


async def test_what_a_call_raises_is_raised_where_it_was_asked_for(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: "still there") == "still there"


async def test_calls_are_carried_out_in_the_order_of_their_coming(threads: Threads) -> None:
    seen: list[int] = []
    await asyncio.gather(*(threads.run(partial(seen.append, number)) for number in range(100)))

    assert seen == list(range(100))


async def test_a_call_is_carried_out_although_nobody_waits_any_more(threads: Threads) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> None:
        begun.set()
        go_on.wait()
        done.append("slow")

    waiting = asyncio.create_task(threads.run(slow))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()

    assert await threads.run(lambda: "next") == "next"
    assert done == ["slow"]


def test_a_call_whose_loop_is_gone_harms_nobody(threads: Threads) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait()

    async def ask() -> None:
        waiting = asyncio.create_task(threads.run(slow))
        await asyncio.to_thread(begun.wait)
        waiting.cancel()

    asyncio.run(ask())
    go_on.set()

    assert asyncio.run(threads.run(lambda: "next")) == "next"


async def test_closing_waits_for_all_calls() -> None:
    threads = Threads(2, "test")
    done: list[int] = []
    asked = [asyncio.create_task(threads.run(partial(done.append, number))) for number in range(50)]
    await asyncio.sleep(0)
    threads.close()

    assert sorted(done) == list(range(50))
    await asyncio.gather(*asked)
