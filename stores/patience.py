"""Waiting that is given up after a while, by one timer for all who wait: one each takes longer than a small read."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

_R = TypeVar("_R")


class Patience(threading.local):
    """Lets work go on for so many seconds, and then for as many again while `goes_on` says so; by default never.

    Work is done in the task of the caller, since a task of its own takes longer still. `error` makes what is raised
    when some is given up. Threads that share it have a timer each, as they have an event loop each.
    """

    def __init__(
        self, seconds: float, error: Callable[[], Exception], goes_on: Callable[[], bool] = lambda: False
    ) -> None:
        self._seconds = seconds
        self._error = error
        self._goes_on = goes_on
        self._waits: dict[_Wait, float] = {}  # since when, the longest first
        self._loop: asyncio.AbstractEventLoop | None = None  # the one with a timer that will look

    async def wait(self, work: Awaitable[_R]) -> _R:
        """What comes of some work; what `error` makes is raised if it is given up."""
        loop = asyncio.get_running_loop()
        wait = _Wait()
        self._waits[wait] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._seconds, self._look)
        try:
            return await work
        except asyncio.CancelledError:
            if wait.is_over():
                raise self._error() from None
            raise
        finally:
            self._waits.pop(wait, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waits:
            wait, since = next(iter(self._waits.items()))
            if since + self._seconds > now:
                loop.call_at(since + self._seconds, self._look)
                return
            del self._waits[wait]
            if self._goes_on():
                self._waits[wait] = now
            else:
                wait.give_up()
        self._loop = None


class _Wait:
    """One task that waits, by its identity."""

    __slots__ = ("_cancelling", "_given_up", "_task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can wait.")
        self._task = task
        self._cancelling = task.cancelling()
        self._given_up = False

    def give_up(self) -> None:
        """Cancel the task."""
        self._given_up = True
        self._task.cancel()

    def is_over(self) -> bool:
        """Whether what cancelled the task was this, and nobody else."""
        return self._given_up and self._task.uncancel() <= self._cancelling
