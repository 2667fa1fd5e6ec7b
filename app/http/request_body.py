"""Request bodies: read in chunks; a silent or slow client gets 408, because its reservations block other clients."""

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
    """The client sends its body too slowly, or stopped sending."""

    code = "TIMEOUT"


@dataclass(frozen=True)
class Pace:
    """The slowest rate at which a client may send a body.

    The server waits for `grace_seconds` in all; each byte adds the time that it takes at `bytes_per_second`, up to
    `grace_seconds`. For a body in memory it waits `max_seconds` at most. Only the waits for the client count, not the
    time
    in which the server stores what it received.
    """

    grace_seconds: float = 30.0
    bytes_per_second: float = 16_000.0
    max_seconds: float = 150.0
    silence: SharedTimeout = field(init=False)

    def __post_init__(self) -> None:
        """Create the timeout that all requests share; one timer each would cost more than reading a small body."""
        message = f"the body is incomplete and nothing arrived for {self.grace_seconds:g} seconds; send it again"
        object.__setattr__(self, "silence", SharedTimeout(self.grace_seconds, lambda: BodyTimeoutError(message)))


PACE: Final = Pace()


def _always() -> bool:
    return True


def never() -> bool:
    """Return False: the server stores the body as it arrives."""
    return False


class TimeLeft:
    """The time that a client has for the rest of one body or message.

    Args:
        in_memory: returns True if the server keeps the body in memory, so that `max_seconds` counts.
    """

    __slots__ = ("_all_seconds", "_in_memory", "_pace", "seconds")

    def __init__(self, pace: Pace, in_memory: Callable[[], bool] = _always) -> None:
        self._pace = pace
        self._in_memory = in_memory
        self._all_seconds = pace.max_seconds
        self.seconds = min(pace.grace_seconds, pace.max_seconds) if in_memory() else pace.grace_seconds
        """Seconds that the next wait may last; not positive if the client is too slow."""

    def spend(self, seconds: float, size: int) -> None:
        """Count a wait in which `size` bytes arrived."""
        pace = self._pace
        self._all_seconds -= seconds
        remaining = min(pace.grace_seconds, self.seconds - seconds + size / pace.bytes_per_second)
        self.seconds = min(remaining, self._all_seconds) if self._in_memory() else remaining

    @property
    def reason(self) -> str:
        """The exceeded limit, as the predicate of a sentence about the body or message."""
        pace = self._pace
        if self.seconds == self._all_seconds:
            return f"took more than {pace.max_seconds:g} seconds"
        return f"arrived more slowly than {pace.bytes_per_second:,.0f} bytes/s for {pace.grace_seconds:g} seconds"


class BodyReader:
    """Reads one request body in chunks, at the rate that `PACE` demands; `in_memory` as in `TimeLeft`."""

    __slots__ = ("_pace", "_receive", "_time_left")

    def __init__(self, request: Request, in_memory: Callable[[], bool] = _always) -> None:
        self._receive = request.receive
        self._pace = PACE
        self._time_left = TimeLeft(PACE, in_memory)

    async def next(self) -> tuple[bytes, bool]:
        """Return the next chunk, and True if more follow.

        Raises:
            BodyTimeoutError: no chunk arrived in time, or the body arrives too slowly.
            ClientDisconnect: the client closed the connection.
        """
        started_at = monotonic()
        if self._time_left.seconds >= self._pace.grace_seconds:
            message = await self._pace.silence.run(self._receive())
        else:
            try:
                async with asyncio.timeout(self._time_left.seconds):
                    message = await self._receive()
            except TimeoutError:
                raise self._too_slow() from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if more:
            self._time_left.spend(monotonic() - started_at, len(chunk))
            if self._time_left.seconds <= 0:
                raise self._too_slow()
        return chunk, more

    def _too_slow(self) -> BodyTimeoutError:
        return BodyTimeoutError(
            f"the body {self._time_left.reason}; send it again over a faster connection, or in smaller parts"
        )


async def iter_chunks(request: Request, in_memory: Callable[[], bool] = _always) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a request body; `in_memory` as in `TimeLeft`.

    Raises:
        BodyTimeoutError: no chunk arrived in time, or the body arrives too slowly.
        ClientDisconnect: the client closed the connection.
    """
    reader, more = BodyReader(request, in_memory), True
    while more:
        chunk, more = await reader.next()
        if chunk:
            yield chunk


async def refusal_by(reserve: Callable[[int], Awaitable[None]], size: int) -> StoreError | None:
    """Return the error with which a `Reservation` refuses `size` bytes; None if it accepts them.

    Callers read and discard the rest of a refused body: a client that still sends would see a broken connection
    instead.
    """
    try:
        await reserve(size)
    except (PayloadTooLargeError, RateLimitedError, UnavailableError) as error:
        return error
    return None


def closing(response: Response) -> Response:
    """Add `Connection: close` to the response to an incomplete body."""
    response.headers["Connection"] = "close"
    return response
