"""Bodies of requests as they come; a silent or slow client gets 408, since what it reserves is kept from others."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stores.errors import StoreError
from stores.patience import Patience

BODY_TIMEOUT_STATUS: Final = 408


class BodyTimeoutError(StoreError):
    """A client sends its body too slowly, or no more of it."""

    code = "TIMEOUT"


@dataclass(frozen=True)
class Pace:
    """The slowest pace at which a client may send a body.

    The server waits for `grace_seconds` in all; each byte that comes adds the time it takes at `bytes_per_second`, up
    to `grace_seconds` again. Only the waits for the client count, not the time in which the server stores what came.
    """

    grace_seconds: float = 30.0
    bytes_per_second: float = 16_000.0
    silence: Patience = field(init=False)

    def __post_init__(self) -> None:
        """Make the timeout of one wait, which all requests share: a timer each would take longer than a small read."""
        message = f"nothing came for {self.grace_seconds:g} seconds, and the body is not whole; send it again"
        object.__setattr__(self, "silence", Patience(self.grace_seconds, lambda: BodyTimeoutError(message)))


PACE: Final = Pace()


class BodyReader:
    """The body of one request, read piece by piece at the pace that `PACE` asks for."""

    __slots__ = ("_left", "_pace", "_receive")

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._pace = PACE
        self._left = PACE.grace_seconds

    async def next(self) -> tuple[bytes, bool]:
        """The next piece, and whether more follow.

        Raises:
            BodyTimeoutError: it did not come in time, or the body comes too slowly.
            ClientDisconnect: the client closed the connection.
        """
        began = monotonic()
        message = await self._pace.silence.wait(self._receive())
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece, more = message.get("body", b""), message.get("more_body", False)
        if more:
            self._count(len(piece), monotonic() - began)
        return piece, more

    def _count(self, size: int, seconds: float) -> None:
        pace = self._pace
        self._left = min(pace.grace_seconds, self._left - seconds + size / pace.bytes_per_second)
        if self._left < 0:
            raise BodyTimeoutError(
                f"the body comes more slowly than {pace.bytes_per_second:,.0f} bytes a second, and has for "
                f"{pace.grace_seconds:g} seconds; send it again over a faster connection, or in smaller parts"
            )


async def pieces(request: Request) -> AsyncGenerator[bytes, None]:
    """The body in the pieces in which it comes.

    Raises:
        BodyTimeoutError: the next one did not come in time, or the body comes too slowly.
        ClientDisconnect: the client closed the connection.
    """
    reader, more = BodyReader(request), True
    while more:
        piece, more = await reader.next()
        if piece:
            yield piece


def closing(response: Response) -> Response:
    """An answer to a body that did not end, after which the connection is of no use."""
    response.headers["Connection"] = "close"
    return response
