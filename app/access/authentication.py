"""Authentication: who is behind each connection."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.callers import CALLER
from stores.access import Caller


class Authentication:
    """The ASGI middleware that sets the caller of each connection.

    Args:
        app: what is behind it.
        anonymous: the caller of who says nothing, where nobody has to.
    """

    def __init__(self, app: ASGIApp, anonymous: Caller) -> None:
        self.app = app
        self.anonymous = anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the caller, and go on."""
        if scope["type"] != "lifespan":
            scope.setdefault("state", {})[CALLER] = self.anonymous
        await self.app(scope, receive, send)
