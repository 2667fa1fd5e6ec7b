"""Work for the driver's threads, handed over in one step: no future of theirs, to be watched and copied from."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from motor.frameworks import asyncio as motors

_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_driver_thread(work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> "asyncio.Future[_R]":
    """What comes of some work of the synchronous driver, done in a thread of Motor's, in this context."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[_R] = loop.create_future()
    context = copy_context()

    def do() -> None:
        if found.cancelled():
            return
        try:
            result = context.run(work, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is told where it is waited for
            loop.call_soon_threadsafe(_fail, found, error)
        else:
            loop.call_soon_threadsafe(_give, found, result)

    motors._EXECUTOR.submit(do)  # noqa: SLF001 -- the threads whose number is set for all that the driver does
    return found


def _give(found: "asyncio.Future[_R]", result: _R) -> None:
    if not found.done():
        found.set_result(result)


def _fail(found: "asyncio.Future[_R]", error: BaseException) -> None:
    if not found.done():
        found.set_exception(error)
