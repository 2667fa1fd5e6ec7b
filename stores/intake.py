"""What one process holds of requests at once, and how many of their writes work at once, both bounded.

When the database is slower than its clients, these must wait. Who comes while it is full waits a little, and if it
still is they are refused before anything of theirs is decoded or stored, and told to come again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

from stores import THREADS
from stores.errors import UnavailableError

MAX_BYTES: Final = 64 * 1024 * 1024
FREE_BYTES: Final = 16 * 1024
"""What of a request is not counted, so that what is small can be asked at any time; a write counts as so much."""

_WRITERS: Final = THREADS // 2
"""How many writes work on the database at once: the other threads are left to those who read."""
_PATIENCE_SECONDS: Final = 2.0
"""How long a request waits for others to end, all in all."""

_LARGE: Final = 0.25
"""The part of the room beyond which a request goes beside it, one at a time, and keeps nobody out while it comes."""

_FULL: Final = (
    "the server holds as much as it can (LOOMQL_MAX_PENDING_BYTES) of what waits for the database; "
    "nothing of this {} is stored, send it again a little later"
)


class Intake:
    """The bytes of the requests, and the number of the writes, that are under way."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._max_writes = max(1, max_bytes // FREE_BYTES)
        self._bytes = 0
        self._writes = 0
        self._writers = asyncio.Semaphore(_WRITERS)
        self._given_back = asyncio.Event()
        self.beside = asyncio.Lock()
        """Whoever holds it holds what they have beside the room."""
        self._beside_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of requests that are held, in the room and beside it."""
        return self._bytes + self._beside_bytes

    @property
    def max_bytes(self) -> int:
        """The most that are held at once."""
        return self._max_bytes

    @property
    def writes(self) -> int:
        """Writes that are under way, or wait for their turn."""
        return self._writes

    def share(self) -> "Share":
        """The share of one request, given back when its block ends."""
        return Share(self)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        """One write, in its turn; it is under way until the block ends.

        Raises:
            UnavailableError: too many are under way already.
        """
        if self._writes >= self._max_writes:
            raise UnavailableError(_FULL.format("mutation"))
        self._writes += 1
        try:
            async with self._writers:
                yield
        finally:
            self._writes -= 1

    def check(self, more: int, own: int) -> None:
        """Hold so many bytes more, beside those of their own request, to the room there is.

        Raises:
            UnavailableError: there is none; for whoever is alone there always is.
        """
        if not self.fits(more, own):
            raise UnavailableError(_FULL.format("request"))

    async def wait(self, more: int, own: int) -> None:
        """Wait until there is room for so many bytes more, beside those of their own request."""
        while not self.fits(more, own):
            await self._given_back.wait()

    def is_large(self, size: int) -> bool:
        """Whether so many bytes are more than a part of the room."""
        return size > _LARGE * self._max_bytes

    def fits(self, more: int, own: int) -> bool:
        """Whether there is room for so many bytes more, beside those of their own request."""
        return more <= 0 or self._bytes <= own or self._bytes + more <= self._max_bytes

    def take_beside(self, size: int) -> None:
        """Count so many bytes in beside the room, or out if negative."""
        self._beside_bytes += size

    def take(self, size: int) -> None:
        """Count so many bytes in, or out if negative."""
        self._bytes += size
        if size < 0:
            self._given_back.set()
            self._given_back = asyncio.Event()


class Share:
    """What one request holds of the intake, until it is closed."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._size = 0
        self._held = 0
        self._is_beside = False
        self._patience = _PATIENCE_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    @property
    def is_counted(self) -> bool:
        """Whether the request is large enough to count."""
        return self._held > 0

    async def expect(self, size: int) -> None:
        """See whether a request of so many bytes would fit, before they come; nothing is kept for it until they do.

        Raises:
            UnavailableError: there is no room for it, and was none for a while.
        """
        more = self._more(size)
        if more > 0 and not self._intake.is_large(self._held + more):
            await self._wait_in_line(more)
            self._intake.check(more, self._held)

    async def take(self, size: int) -> None:
        """Hold so many bytes more, once there is room: others that end meanwhile make it.

        Raises:
            UnavailableError: there is none for them, and was none for a while.
        """
        more = self._more(size)
        if more > 0 and not self._is_beside:
            if not self._intake.is_large(self._held + more):
                await self._wait_in_line(more)
            elif not self._intake.beside.locked() or not self._intake.fits(more, self._held):
                await self._wait(self._go_beside())
        self.grow(size)

    async def _wait_in_line(self, more: int) -> None:
        if not self._intake.fits(more, self._held):
            await self._wait(self._intake.wait(more, self._held))

    async def _wait(self, room: Awaitable[None]) -> None:
        """Wait for room, for what is left of the request's patience; there may be none then."""
        began = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await room
        self._patience -= time.monotonic() - began

    async def _go_beside(self) -> None:
        self._is_beside = await self._intake.beside.acquire()
        self._intake.take(-self._held)
        self._intake.take_beside(self._held)

    def grow(self, size: int) -> None:
        """Hold so many bytes more at once.

        Raises:
            UnavailableError: there is no room for them now.
        """
        more = self._more(size)
        if self._is_beside:
            self._intake.take_beside(more)
        else:
            self._intake.check(more, self._held)
            self._intake.take(more)
        self._size += size
        self._held += more

    def _more(self, size: int) -> int:
        return max(0, self._size + size - FREE_BYTES) - self._held

    def close(self) -> None:
        """Give everything back; more than once does no harm."""
        if self._is_beside:
            self._intake.take_beside(-self._held)
            self._intake.beside.release()
        else:
            self._intake.take(-self._held)
        self._size, self._held, self._is_beside = 0, 0, False
