"""The short way to a few routes: who asks for their path is led there without the others being tried."""

from collections.abc import Awaitable, Iterable

from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class DirectRoutes:
    """The innermost ASGI middleware, before Starlette's router.

    The router and its handler of exceptions take a twentieth of the time of a small query, and each message of a
    WebSocket passes through the latter.

    Args:
        app: the router, for all others; for these, too, where the path has a prefix that it knows of.
        routes: where most requests go. They take any method, and answer by themselves whatever happens in them.

    Raises:
        TypeError: a route has methods, or parameters in its path.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Route | WebSocketRoute]) -> None:
        self.app = app
        self._there = {(_kind(route), route.path): route.app for route in routes}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Go there."""
        app = self._there.get((scope["type"], scope.get("path", "")), self.app)
        return app(scope, receive, send)


def _kind(route: Route | WebSocketRoute) -> str:
    if getattr(route, "methods", None) or route.param_convertors:
        raise TypeError(f"the router must look at more than the path of {route!r}")
    return "http" if isinstance(route, Route) else "websocket"
