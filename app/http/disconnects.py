"""Clients that leave while they wait: what they asked for is given up, and with it what the database does for it."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final

from starlette.requests import ClientDisconnect, Request

from stores.concurrency.shared_timer import SharedTimer

LOOK_SECONDS: Final = 0.5
"""After how long one looks whether the client is still there; most answers are ready before."""

_TIMER: Final = SharedTimer(LOOK_SECONDS)


class CancelOnDisconnect:
    """A block that ends with ClientDisconnect when the client leaves in the middle of it.

    Args:
        request: whose body has been read, or which has none.
        may_be_given_up: whether this is so of what is done in the block; asked once, where it takes long.
    """

    def __init__(self, request: Request, may_be_given_up: Callable[[], bool]) -> None:
        self._request = request
        self._may_be_given_up = may_be_given_up
        self._watching: asyncio.Task[None] | None = None
        self._has_left = False

    def __enter__(self) -> None:
        """Begin."""
        self._task = asyncio.current_task()
        _TIMER.schedule(self._look)

    def _look(self) -> bool:
        if self._may_be_given_up():
            self._watching = asyncio.create_task(self._watch())
        return False

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        if self._task:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End.

        Raises:
            ClientDisconnect: the client has left.
        """
        _TIMER.cancel(self._look)
        if self._watching:
            self._watching.cancel()
        if self._has_left and self._task and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientDisconnect from error
