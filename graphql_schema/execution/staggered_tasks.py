"""Very many tasks that one list waits for, begun in turns with all else; those who gather what they ask can tell."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final, Optional

from graphql.pyutils import gather_with_cancel

from stores.concurrency.time_slices import BATCH_SIZE

_TURNS_TO_ASK: Final = 2
"""How many turns of the event loop a task may take from its beginning until it asks."""


class StaggeredStart:
    """The beginning of the tasks of one list, perhaps within the task of another list."""

    __slots__ = ("_around", "_over")

    _CURRENT: Final[ContextVar[Optional["StaggeredStart"]]] = ContextVar("beginning", default=None)

    def __init__(self) -> None:
        self._around = self._CURRENT.get()
        self._over = asyncio.Event()

    @classmethod
    def current(cls) -> Optional["StaggeredStart"]:
        """That of the list for which the running task works, if it is under way."""
        current = cls._CURRENT.get()
        return current if current is not None and current.is_starting else None

    @property
    def is_starting(self) -> bool:
        """Whether there are tasks that have not begun, and so have not asked for anything yet."""
        return not self._over.is_set() or (self._around is not None and self._around.is_starting)

    async def wait_started(self) -> None:
        """Wait until there are none."""
        await self._over.wait()
        if self._around is not None:
            await self._around.wait_started()

    async def start_all(self, awaitables: Iterator[Awaitable[Any]]) -> list[asyncio.Future[Any]]:
        """The tasks of all awaitables."""
        token = self._CURRENT.set(self)
        begun: list[asyncio.Future[Any]] = []
        try:
            while some := [asyncio.ensure_future(awaitable) for awaitable in islice(awaitables, BATCH_SIZE)]:
                begun += some
                await asyncio.sleep(0)
            for _ in range(_TURNS_TO_ASK):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            begun += map(asyncio.ensure_future, awaitables)
            for task in begun:
                task.cancel()
            raise
        finally:
            self._over.set()
            self._CURRENT.reset(token)
        return begun


async def gather(awaitables: list[Awaitable[Any]]) -> list[Any]:
    """What comes of all of them; the first to fail cancels the others, and its error is raised."""
    if len(awaitables) <= BATCH_SIZE:
        return await gather_with_cancel(*awaitables)
    return await gather_with_cancel(*await StaggeredStart().start_all(iter(awaitables)))
