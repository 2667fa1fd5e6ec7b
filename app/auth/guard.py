"""The guard before each route: it sees, before an endpoint reads anything, that the caller may come there."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.auth.callers import ACCESS, RouteAccess, caller_of
from app.auth.credentials import with_challenge
from app.auth.middleware import SESSION
from app.auth.route_permissions import ANY, OPEN, ROUTE_PERMISSIONS, WEBSOCKET, RoutePermission
from stores.errors import StoreError

ErrorResponse = Callable[[Scope, StoreError], Response]
"""A function that turns an error into the response that the clients of a path understand."""


def guard_routes(
    routes: Iterable[BaseRoute],
    error_response: ErrorResponse,
    rulings: Mapping[str, RoutePermission] = ROUTE_PERMISSIONS,
) -> list[BaseRoute]:
    """Routes with the guard before each; `error_response` makes the responses of refused requests.

    Raises:
        TypeError: a route has no ruling, or one of its methods has none.
    """
    found = list(routes)
    for route in found:
        _guard(route, "", rulings, error_response)
    return found


def permission_for(door: str, rulings: Mapping[str, RoutePermission] = ROUTE_PERMISSIONS) -> RoutePermission:
    """What somebody ruled on a door.

    Raises:
        TypeError: nobody did.
    """
    if door not in rulings:
        raise TypeError(f"nobody ruled on {door}: say in app/auth/route_permissions.py which role it takes")
    return rulings[door]


def _guard(
    route: BaseRoute, prefix: str, rulings: Mapping[str, RoutePermission], error_response: ErrorResponse
) -> None:
    if isinstance(route, Mount) and route.routes:
        for inner in route.routes:
            _guard(inner, f"{prefix}{route.path}", rulings, error_response)
        return
    if not isinstance(route, Route | WebSocketRoute | Mount):
        raise TypeError(f"nobody ruled on routes such as {route!r}")
    found = {method: permission_for(f"{method} {prefix}{route.path}", rulings) for method in _methods_of(route)}
    route.app = Guard(route.app, found, error_response)


def _methods_of(route: Route | WebSocketRoute | Mount) -> set[str]:
    """What somebody has to rule on at the path of a route."""
    if isinstance(route, WebSocketRoute):
        return {WEBSOCKET}
    methods = route.methods if isinstance(route, Route) else None
    return {_ruled_as(method) for method in methods or {ANY}}


def _ruled_as(method: str) -> str:
    return "GET" if method == "HEAD" else method


class Guard:
    """The guard before one route.

    Args:
        app: what is behind it.
        rulings: what it goes by, for each method.
        error_response: makes the response of a refused request.
    """

    def __init__(self, app: ASGIApp, rulings: Mapping[str, RoutePermission], error_response: ErrorResponse) -> None:
        self.app = app
        self.rulings = rulings
        self.error_response = error_response

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse, or go on; a mounted application, which would get WebSockets as well, has none."""
        ruling = self._ruling(scope)
        if ruling is None:
            return WebSocketClose()(scope, receive, send)
        refused = _refused(ruling, scope)
        if refused is None:
            return self.app(scope, receive, send)
        response = with_challenge(self.error_response(scope, refused), refused)
        return response(scope, receive, send)

    def _ruling(self, scope: Scope) -> RoutePermission | None:
        if scope["type"] == "websocket":
            return self.rulings.get(WEBSOCKET)
        return self.rulings.get(ANY) or self.rulings[_ruled_as(scope["method"])]


def _refused(ruling: RoutePermission, scope: Scope) -> StoreError | None:
    if ruling is OPEN:
        return None
    session = scope["state"][SESSION]
    if isinstance(session, StoreError):
        return None if ruling.is_open and ruling.is_open(scope) else session
    scope["state"][ACCESS] = RouteAccess(session.caller, ruling.role)
    if session.caller.everywhere < ruling.role:
        return _forbidden(ruling, HTTPConnection(scope))
    return None


def _forbidden(ruling: RoutePermission, connection: HTTPConnection) -> StoreError | None:
    caller = caller_of(connection)
    try:
        if ruling.projects is None:
            caller.check_anywhere(ruling.role)  # the endpoint checks the project once it has read which one is meant
        else:
            for project_id in ruling.projects(connection):
                caller.require_role(ruling.role, project_id)
    except StoreError as error:
        return error.with_traceback(None)
    return None
