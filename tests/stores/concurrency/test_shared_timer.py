"""Tests of one timer for many callbacks: each runs at its time, whatever the others do."""

import asyncio

from stores.concurrency.timeouts import SharedTimer
from tests.waiting import until


async def test_failing_callback_does_not_stop_the_others() -> None:
    timer = SharedTimer(0.01)
    made: list[int] = []
    failures: list[Exception] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["exception"]))

    def fails() -> bool:
        raise ValueError

    def is_made() -> bool:
        made.append(len(made))
        return len(made) < 3

    def is_ended() -> bool:
        raise AssertionError

    for call in (fails, is_made, is_ended):
        timer.schedule(call)
    timer.cancel(is_ended)
    await until(lambda: len(made) == 3)
    timer.schedule(fails)
    await until(lambda: len(failures) == 2)

    assert made == [0, 1, 2]
    assert [type(failure) for failure in failures] == [ValueError, ValueError]
