"""Direct dispatch to a few busy routes, without trying the others."""

from collections.abc import Awaitable, Iterable

from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class DirectRoutes:
    """The innermost ASGI middleware, before Starlette's router.

    The router and its exception handler take a twentieth of the time of a small query, and each WebSocket message
    passes through the handler.

    Args:
        app: the router, for all other routes; for these, too, behind a path prefix.
        routes: the busy routes. They handle all methods and exceptions themselves.

    Raises:
        TypeError: a route has methods, or parameters in its path.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Route | WebSocketRoute]) -> None:
        self.app = app
        self._apps = {(_kind(route), route.path): route.app for route in routes}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Call the route, or the router."""
        app = self._apps.get((scope["type"], scope.get("path", "")), self.app)
        return app(scope, receive, send)


def _kind(route: Route | WebSocketRoute) -> str:
    if getattr(route, "methods", None) or route.param_convertors:
        raise TypeError(f"{route!r} has methods or path parameters, so it needs the router")
    return "http" if isinstance(route, Route) else "websocket"
