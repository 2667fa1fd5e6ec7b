"""Bodies of requests as they come; a silent or slow client gets 408, since what it reserves is kept from others."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stores.concurrency.timeouts import SharedTimeout
from stores.errors import PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError

BODY_TIMEOUT_STATUS: Final = 408


class BodyTimeoutError(StoreError):
    """A client sends its body too slowly, or no more of it."""

    code = "TIMEOUT"


@dataclass(frozen=True)
class Pace:
    """The slowest pace at which a client may send a body.

    The server waits for `grace_seconds` in all; each byte that comes adds the time it takes at `bytes_per_second`, up
    to `grace_seconds` again. It waits for `max_seconds` at most for a body that it holds in memory. Only the waits for
    the client count, not the time in which the server stores what came.
    """

    grace_seconds: float = 30.0
    bytes_per_second: float = 16_000.0
    max_seconds: float = 150.0
    silence: SharedTimeout = field(init=False)

    def __post_init__(self) -> None:
        """Make the timeout of one wait, which all requests share: a timer each would take longer than a small read."""
        message = f"nothing came for {self.grace_seconds:g} seconds, and the body is not whole; send it again"
        object.__setattr__(self, "silence", SharedTimeout(self.grace_seconds, lambda: BodyTimeoutError(message)))


PACE: Final = Pace()


def _always() -> bool:
    return True


def never() -> bool:
    """The answer for a body that the server stores as it comes."""
    return False


class TimeLeft:
    """The time that a client has for the rest of one body, or message.

    Args:
        in_memory: tells whether the server holds the body in memory, so that `max_seconds` counts.
    """

    __slots__ = ("_all_seconds", "_in_memory", "_pace", "seconds")

    def __init__(self, pace: Pace, in_memory: Callable[[], bool] = _always) -> None:
        self._pace = pace
        self._in_memory = in_memory
        self._all_seconds = pace.max_seconds
        self.seconds = min(pace.grace_seconds, pace.max_seconds) if in_memory() else pace.grace_seconds
        """How long the next wait may last; not positive if the client is too slow."""

    def spend(self, seconds: float, size: int) -> None:
        """Count a wait in which so many bytes came."""
        pace = self._pace
        self._all_seconds -= seconds
        left = min(pace.grace_seconds, self.seconds - seconds + size / pace.bytes_per_second)
        self.seconds = min(left, self._all_seconds) if self._in_memory() else left

    @property
    def reason(self) -> str:
        """The limit that ends first, as the predicate of a sentence about a body, or message, that exceeded it."""
        pace = self._pace
        if self.seconds == self._all_seconds:
            return f"took more than {pace.max_seconds:g} seconds"
        return f"came more slowly than {pace.bytes_per_second:,.0f} bytes/s for {pace.grace_seconds:g} seconds"


class BodyReader:
    """The body of one request, read piece by piece at the pace that `PACE` asks for; `in_memory` as in `TimeLeft`."""

    __slots__ = ("_left", "_pace", "_receive")

    def __init__(self, request: Request, in_memory: Callable[[], bool] = _always) -> None:
        self._receive = request.receive
        self._pace = PACE
        self._left = TimeLeft(PACE, in_memory)

    async def next(self) -> tuple[bytes, bool]:
        """The next piece, and whether more follow.

        Raises:
            BodyTimeoutError: it did not come in time, or the body comes too slowly.
            ClientDisconnect: the client closed the connection.
        """
        began = monotonic()
        if self._left.seconds >= self._pace.grace_seconds:
            message = await self._pace.silence.run(self._receive())
        else:
            try:
                async with asyncio.timeout(self._left.seconds):
                    message = await self._receive()
            except TimeoutError:
                raise self._too_slow() from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece, more = message.get("body", b""), message.get("more_body", False)
        if more:
            self._left.spend(monotonic() - began, len(piece))
            if self._left.seconds <= 0:
                raise self._too_slow()
        return piece, more

    def _too_slow(self) -> BodyTimeoutError:
        return BodyTimeoutError(
            f"the body {self._left.reason}; send it again over a faster connection, or in smaller parts"
        )


async def iter_chunks(request: Request, in_memory: Callable[[], bool] = _always) -> AsyncGenerator[bytes, None]:
    """The body in the pieces in which it comes; `in_memory` as in `TimeLeft`.

    Raises:
        BodyTimeoutError: the next one did not come in time, or the body comes too slowly.
        ClientDisconnect: the client closed the connection.
    """
    reader, more = BodyReader(request, in_memory), True
    while more:
        piece, more = await reader.next()
        if piece:
            yield piece


async def refusal_by(hold: Callable[[int], Awaitable[None]], size: int) -> StoreError | None:
    """The error by which a `Share` refuses to hold so many bytes.

    The rest of a refused body is read and discarded: a client that still sends would find its connection cut instead.
    """
    try:
        await hold(size)
    except (PayloadTooLargeError, RateLimitedError, UnavailableError) as error:
        return error
    return None


def closing(response: Response) -> Response:
    """An answer to a body that did not end, after which the connection is of no use."""
    response.headers["Connection"] = "close"
    return response
