import asyncio
import threading
import weakref
from contextvars import ContextVar
from functools import partial

import pytest

from stores.database.driver import ThreadPool, run_in_driver_thread
from tests.waiting import TIMEOUT, until

PLACE: ContextVar[str] = ContextVar("PLACE", default="nowhere")


def here(*given: object, **named: object) -> tuple[str, str, tuple[object, ...], dict[str, object]]:
    return threading.current_thread().name, PLACE.get(), given, named


async def test_function_runs_in_a_thread_with_the_callers_context() -> None:
    PLACE.set("a request")

    assert await run_in_driver_thread(here, 1, b=2) == ("driver", "a request", (1,), {"b": 2})


async def test_exception_is_raised_in_the_waiting_task() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await run_in_driver_thread(fail)


async def test_most_recently_used_idle_thread_is_reused() -> None:
    pool, together = ThreadPool(6), threading.Barrier(6)

    def meet() -> int:
        together.wait(TIMEOUT)
        return threading.get_ident()

    there = await asyncio.gather(*(pool.run(meet) for _ in range(6)))
    used = set()
    for _ in range(50):
        await until(lambda: len(pool._idle) == 6)
        used.add(await pool.run(threading.get_ident))

    assert len(set(there)) == 6
    assert len(used) == 1


async def test_idle_thread_keeps_no_result() -> None:
    class Rows:
        pass

    rows = await run_in_driver_thread(Rows)
    result = weakref.ref(rows)
    del rows

    await until(lambda: result() is None)


async def test_abandoned_function_finishes_by_itself() -> None:
    has_started, go_on = threading.Event(), threading.Event()

    def work() -> None:
        has_started.set()
        go_on.wait(10)

    found = run_in_driver_thread(work)
    await asyncio.to_thread(has_started.wait, 10)
    found.cancel()
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await found
    assert await run_in_driver_thread(len, "the threads go on") == 17


def test_closed_event_loop_gets_no_result() -> None:
    has_started, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        has_started.set()
        go_on.wait(10)

    async def leave() -> None:
        run_in_driver_thread(work)
        await asyncio.to_thread(has_started.wait, 10)

    asyncio.run(leave())
    go_on.set()
    asyncio.run(_soon(over))

    assert over.is_set()


async def _soon(over: threading.Event) -> None:
    await run_in_driver_thread(over.set)


def test_thread_count_is_bounded() -> None:
    threads = ThreadPool(3)
    at_once, most, done = [0], [0], threading.Semaphore(0)
    lock, first = threading.Lock(), threading.Barrier(3)

    def work(number: int) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        if number < 3:
            first.wait(10)
        with lock:
            at_once[0] -= 1
        done.release()

    for number in range(100):
        threads.submit(partial(work, number))
    found = [done.acquire(timeout=10) for _ in range(100)]

    assert all(found)
    assert most == [3]


def test_queued_functions_run_in_order() -> None:
    threads, done = ThreadPool(1), list[str]()
    has_started, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        has_started.set()
        go_on.wait(10)

    threads.submit(first)
    has_started.wait(10)
    threads.submit(lambda: done.append("second"))
    threads.submit(lambda: done.append("third"))
    threads.submit(over.set)
    assert done == []

    go_on.set()
    assert over.wait(10)
    assert done == ["second", "third"]
