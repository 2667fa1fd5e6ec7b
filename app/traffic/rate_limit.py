"""The rate of callers, held at every door of HTTP; WebSockets and gRPC ask for each operation themselves."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.doors import MONITORING, STATIC, refusal_at
from app.traffic.payers import payer_of
from app.traffic.rates import Rates
from stores.errors import RateLimitedError


class RateLimit:
    """The ASGI middleware that counts requests, and refuses those that are too many at any door."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or go on."""
        if scope["type"] != "lifespan" and not _is_free(scope["path"]):
            try:
                self.rates.check(_account(scope))
            except RateLimitedError as error:
                await refusal_at(scope, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _account(scope: Scope) -> str:
    """Whose request it is; who opens a WebSocket may say so later, and is not kept out by others at their address."""
    return f"socket of {payer_of(scope)}" if scope["type"] == "websocket" else payer_of(scope)


def _is_free(path: str) -> bool:
    return path in MONITORING or path.startswith(STATIC)
