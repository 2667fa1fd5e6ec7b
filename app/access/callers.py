"""The caller of a connection, as authentication has set it."""

from typing import Final

from starlette.requests import HTTPConnection

from stores.access import Caller

CALLER: Final = "caller"
"""Where it is, in the state of an ASGI scope."""


def caller_of(connection: HTTPConnection) -> Caller:
    """Who asks."""
    caller: Caller = connection.scope["state"][CALLER]
    return caller
