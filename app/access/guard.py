"""The guard before each route: it sees, before an endpoint reads anything, that the caller may come there."""

from collections.abc import Awaitable, Iterable, Mapping

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.authentication import SESSION
from app.access.callers import ACCESS, Access, caller_of
from app.access.rulings import OPEN, RULINGS, Ruling
from stores.errors import StoreError


def ruled(routes: Iterable[BaseRoute], rulings: Mapping[str, Ruling] = RULINGS) -> list[BaseRoute]:
    """Routes with the guard before each.

    Raises:
        TypeError: a route has no ruling.
    """
    found = list(routes)
    for route in found:
        _guard(route, "", rulings)
    return found


def _guard(route: BaseRoute, prefix: str, rulings: Mapping[str, Ruling]) -> None:
    if isinstance(route, Mount) and route.routes:
        for inner in route.routes:
            _guard(inner, f"{prefix}{route.path}", rulings)
        return
    if not isinstance(route, Route | WebSocketRoute | Mount):
        raise TypeError(f"nobody ruled on routes such as {route!r}")
    path = f"{prefix}{route.path}"
    if path not in rulings:
        raise TypeError(f"nobody ruled on {path}: say in app/access/rulings.py which role it takes")
    if rulings[path] is not OPEN:
        route.app = Guard(route.app, rulings[path])


class Guard:
    """The guard before one route.

    Args:
        app: what is behind it.
        ruling: what it goes by.
    """

    def __init__(self, app: ASGIApp, ruling: Ruling) -> None:
        self.app = app
        self.ruling = ruling

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse, or go on."""
        refused = self._refused(scope)
        if refused is None or _says_later(scope):
            return self.app(scope, receive, send)
        return self.ruling.refuse(refused, HTTPConnection(scope))(scope, receive, send)

    def _refused(self, scope: Scope) -> StoreError | None:
        ruling, session = self.ruling, scope["state"][SESSION]
        if isinstance(session, StoreError):
            return None if ruling.is_open and ruling.is_open(scope) else session
        scope["state"][ACCESS] = Access(session.caller, ruling.role)
        if ruling.projects and session.caller.everywhere < ruling.role:
            return self._forbidden(HTTPConnection(scope))
        return None

    def _forbidden(self, connection: HTTPConnection) -> StoreError | None:
        caller = caller_of(connection)
        try:
            for project_id in self.ruling.projects(connection) if self.ruling.projects else ():
                caller.check(self.ruling.role, project_id)
        except StoreError as error:
            return error.with_traceback(None)
        return None


def _says_later(scope: Scope) -> bool:
    """Whether it is a browser's WebSocket, which cannot send the header: it says who it is in its first message."""
    return scope["type"] == "websocket" and all(name != b"authorization" for name, _ in scope["headers"])
