"""Staggered start of the tasks of one long list, which data loaders can wait for."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final, Optional

from graphql.pyutils import gather_with_cancel

from stores.concurrency.time_slices import BATCH_SIZE

_ITERATIONS_TO_LOADER: Final = 2
"""Number of event loop iterations in which a started task reaches its data loader."""


class StaggeredStart:
    """The start of the tasks of one list, possibly within a task of another list."""

    __slots__ = ("_outer", "_started")

    _CURRENT: Final[ContextVar[Optional["StaggeredStart"]]] = ContextVar("beginning", default=None)

    def __init__(self) -> None:
        self._outer = self._CURRENT.get()
        self._started = asyncio.Event()

    @classmethod
    def current(cls) -> Optional["StaggeredStart"]:
        """Return the start that the running task belongs to, if it is not complete; None otherwise."""
        current = cls._CURRENT.get()
        return current if current is not None and current.is_starting else None

    @property
    def is_starting(self) -> bool:
        """True while some tasks have not started, and so have not reached a data loader."""
        return not self._started.is_set() or (self._outer is not None and self._outer.is_starting)

    async def wait_started(self) -> None:
        """Wait until all tasks have started."""
        await self._started.wait()
        if self._outer is not None:
            await self._outer.wait_started()

    async def start_all(self, awaitables: Iterator[Awaitable[Any]]) -> list[asyncio.Future[Any]]:
        """Start a task for each awaitable in batches, and return the tasks."""
        token = self._CURRENT.set(self)
        tasks: list[asyncio.Future[Any]] = []
        try:
            while batch := [asyncio.ensure_future(awaitable) for awaitable in islice(awaitables, BATCH_SIZE)]:
                tasks += batch
                await asyncio.sleep(0)
            for _ in range(_ITERATIONS_TO_LOADER):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            tasks += map(asyncio.ensure_future, awaitables)
            for task in tasks:
                task.cancel()
            raise
        finally:
            self._started.set()
            self._CURRENT.reset(token)
        return tasks


async def gather(awaitables: list[Awaitable[Any]]) -> list[Any]:
    """Await all; the first failure cancels the others, and is raised."""
    if len(awaitables) <= BATCH_SIZE:
        return await gather_with_cancel(*awaitables)
    return await gather_with_cancel(*await StaggeredStart().start_all(iter(awaitables)))
