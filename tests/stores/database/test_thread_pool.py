import asyncio
import threading
from contextvars import ContextVar
from functools import partial

import pytest

from stores.database.thread_pool import ThreadPool, run_in_driver_thread

PLACE: ContextVar[str] = ContextVar("PLACE", default="nowhere")


def here(*given: object, **named: object) -> tuple[str, str, tuple[object, ...], dict[str, object]]:
    return threading.current_thread().name, PLACE.get(), given, named


async def test_work_is_done_in_a_thread_in_the_context_of_who_asks() -> None:
    PLACE.set("a request")

    assert await run_in_driver_thread(here, 1, b=2) == ("driver", "a request", (1,), {"b": 2})


async def test_what_it_raises_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await run_in_driver_thread(fail)


async def test_of_the_threads_that_are_idle_the_one_that_worked_last_is_taken() -> None:
    together = threading.Barrier(6)

    def meet() -> int:
        together.wait(10)
        return threading.get_ident()

    there = await asyncio.gather(*(run_in_driver_thread(meet) for _ in range(6)))
    used = set()
    for _ in range(50):
        used.add(await run_in_driver_thread(threading.get_ident))
        await asyncio.sleep(0.001)

    assert len(set(there)) == 6
    assert len(used) <= 2


async def test_what_nobody_waits_for_any_more_ends_by_itself() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)

    found = run_in_driver_thread(work)
    await asyncio.to_thread(begun.wait, 10)
    found.cancel()
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await found
    assert await run_in_driver_thread(len, "the threads go on") == 17


def test_a_loop_that_was_closed_meanwhile_is_told_nothing() -> None:
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)

    async def leave() -> None:
        run_in_driver_thread(work)
        await asyncio.to_thread(begun.wait, 10)

    asyncio.run(leave())
    go_on.set()
    asyncio.run(_soon(over))

    assert over.is_set()


async def _soon(over: threading.Event) -> None:
    await run_in_driver_thread(over.set)


def test_no_more_threads_than_allowed_do_all_the_work() -> None:
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


def test_what_waits_is_done_in_its_order() -> None:
    threads, done = ThreadPool(1), list[str]()
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        go_on.wait(10)

    threads.submit(first)
    begun.wait(10)
    threads.submit(lambda: done.append("second"))
    threads.submit(lambda: done.append("third"))
    threads.submit(over.set)
    assert done == []

    go_on.set()
    assert over.wait(10)
    assert done == ["second", "third"]
