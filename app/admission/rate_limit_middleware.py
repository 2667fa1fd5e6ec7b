"""The rate of callers, held at every door of HTTP; WebSockets and gRPC ask for each operation themselves."""

from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admission.quota_keys import quota_key_of
from app.admission.token_buckets import RateLimiter
from stores.errors import RateLimitedError, StoreError

MONITORING: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that monitoring polls; no rate limits them."""

STATIC: Final = ("/graphiql/", "/docs/")
"""Path prefixes of static files, which no rate limits: one page loads dozens of them."""


class RateLimitMiddleware:
    """The ASGI middleware that counts requests, and refuses those that are too many at any door."""

    def __init__(
        self, app: ASGIApp, rates: RateLimiter, error_response: Callable[[Scope, StoreError], Response]
    ) -> None:
        self.app = app
        self.error_response = error_response
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or go on."""
        if scope["type"] != "lifespan" and not _is_free(scope["path"]):
            try:
                self.rates.check(_account(scope))
            except RateLimitedError as error:
                await self.error_response(scope, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _account(scope: Scope) -> str:
    """Whose request it is; who opens a WebSocket may say so later, and is not kept out by others at their address."""
    return f"socket of {quota_key_of(scope)}" if scope["type"] == "websocket" else quota_key_of(scope)


def _is_free(path: str) -> bool:
    return path in MONITORING or path.startswith(STATIC)
