"""Bodies of requests as they come, from clients that must not fall silent: what they hold is kept from others."""

from collections.abc import AsyncGenerator
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stores.errors import StoreError
from stores.patience import Patience

SILENCE_STATUS: Final = 408


class SilenceError(StoreError):
    """Nothing more of a request came for too long."""

    code = "TIMEOUT"


def patience(seconds: float) -> Patience:
    """With a client that falls silent: `SilenceError` after so many seconds."""
    message = f"nothing came for {seconds:g} seconds, and the body is not whole; send it again"
    return Patience(seconds, lambda: SilenceError(message))


PATIENCE: Final = patience(30.0)


async def pieces(request: Request) -> AsyncGenerator[bytes, None]:
    """The body in the pieces in which it comes.

    Raises:
        SilenceError: the next one did not come in time.
        ClientDisconnect: there is nobody any more.
    """
    more = True
    while more:
        piece, more = await next_piece(request)
        if piece:
            yield piece


async def next_piece(request: Request) -> tuple[bytes, bool]:
    """The next piece of the body, and whether more follow.

    Raises:
        SilenceError: it did not come in time.
        ClientDisconnect: there is nobody any more.
    """
    message = await PATIENCE.wait(request.receive())
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def closing(response: Response) -> Response:
    """An answer to a body that did not end, after which the connection is of no use."""
    response.headers["Connection"] = "close"
    return response
