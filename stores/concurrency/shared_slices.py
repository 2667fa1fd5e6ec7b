"""Long work that is in the hands of many tasks, done in turns with all else that waits for the event loop."""

import asyncio
from collections import deque
from time import monotonic
from typing import Final

from stores.concurrency.time_slices import BATCH_SIZE, SLICE_SECONDS

_SHARE_SECONDS: Final = 0.0005
"""How long one task may go on before others: what is waited for in the line costs more than a small piece of work."""
_SHORTEST: Final = 1e-6


class SharedTimeSlices:
    """One turn after the other for all of the tasks together, however many they are.

    Where the turn is over a task waits in a line, of which with each pass of the event loop as many are called as fit
    into a turn, by the time that those before them took.
    """

    def __init__(self, seconds: float = SLICE_SECONDS) -> None:
        self._seconds = seconds
        self._line: deque[asyncio.Future[None]] = deque()
        self._is_on = False
        self._began = 0.0
        self._at_once = BATCH_SIZE

    async def acquire(self) -> float:
        """Have a share of a turn, at once or after those who came before; until when, by `monotonic`."""
        if not self._is_on:
            self._is_on = True
            self._begin()
            asyncio.get_running_loop().call_soon(self._call)
        elif self._line or monotonic() > self._began + self._seconds:
            waiting = asyncio.get_running_loop().create_future()
            self._line.append(waiting)
            await waiting
        return monotonic() + _SHARE_SECONDS

    def _begin(self) -> None:
        self._began = monotonic()

    def _call(self) -> None:
        """Call those who are next: the loop runs them one after the other, and then measures how long they took."""
        if not self._line:
            self._is_on = False
            return
        loop = asyncio.get_running_loop()
        loop.call_soon(self._begin)
        called = min(self._at_once, len(self._line))
        for _ in range(called):
            waiting = self._line.popleft()
            if not waiting.done():
                waiting.set_result(None)
        loop.call_soon(self._end, called)

    def _end(self, called: int) -> None:
        took = max(monotonic() - self._began, _SHORTEST)
        fitting = int(called * self._seconds / took)
        self._at_once = max(1, min(fitting, 2 * self._at_once, BATCH_SIZE))
        self._call()
