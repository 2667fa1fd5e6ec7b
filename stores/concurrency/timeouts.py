"""Waiting that is given up after a while."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stores.concurrency.shared_timer import SharedTimer

_R = TypeVar("_R")


class SharedTimeout:
    """Lets work go on for so many seconds, and then for as many again while `goes_on` says so; by default never.

    Work is done in the task of the caller, since a task of its own takes longer than a small read. `error` makes what
    is raised when some is given up.
    """

    def __init__(
        self, seconds: float, error: Callable[[], Exception], goes_on: Callable[[], bool] = lambda: False
    ) -> None:
        self._timer = SharedTimer(seconds)
        self._error = error
        self._goes_on = goes_on

    async def run(self, work: Awaitable[_R]) -> _R:
        """What comes of some work; what `error` makes is raised if it is given up."""
        wait = _Wait(self._goes_on)
        self._timer.schedule(wait)
        try:
            return await work
        except asyncio.CancelledError:
            if wait.is_over():
                raise self._error() from None
            raise
        finally:
            self._timer.cancel(wait)


class _Wait:
    """One task that waits; called to give it up, unless it goes on."""

    __slots__ = ("_cancelling", "_given_up", "_goes_on", "_task")

    def __init__(self, goes_on: Callable[[], bool]) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can wait.")
        self._task = task
        self._cancelling = task.cancelling()
        self._given_up = False
        self._goes_on = goes_on

    def __call__(self) -> bool:
        if self._goes_on():
            return True
        self._given_up = True
        self._task.cancel()
        return False

    def is_over(self) -> bool:
        """Whether what cancelled the task was this, and nobody else."""
        return self._given_up and self._task.uncancel() <= self._cancelling
