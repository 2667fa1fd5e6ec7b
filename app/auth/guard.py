"""Guard of each route: checks the caller's role before the endpoint reads the request."""

from collections.abc import Awaitable, Iterable, Mapping

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.auth.callers import ACCESS, RouteAccess, caller_of
from app.auth.middleware import SESSION
from app.auth.route_permissions import ANY, OPEN, ROUTE_PERMISSIONS, WEBSOCKET, RoutePermission
from app.http.errors import error_response
from stores.errors import StoreError


def guard_routes(
    routes: Iterable[BaseRoute], permissions: Mapping[str, RoutePermission] = ROUTE_PERMISSIONS
) -> list[BaseRoute]:
    """Put a guard before each route.

    Raises:
        TypeError: a route, or one of its methods, has no permission.
    """
    guarded = list(routes)
    for route in guarded:
        _guard(route, "", permissions)
    return guarded


def permission_for(route_name: str, permissions: Mapping[str, RoutePermission] = ROUTE_PERMISSIONS) -> RoutePermission:
    """Return the permission of a route, such as `GET /healthz`.

    Raises:
        TypeError: the route has none.
    """
    if route_name not in permissions:
        raise TypeError(
            f"{route_name} has no permission: add the role that it requires to app/auth/route_permissions.py"
        )
    return permissions[route_name]


def _guard(route: BaseRoute, prefix: str, permissions: Mapping[str, RoutePermission]) -> None:
    if isinstance(route, Mount) and route.routes:
        for inner in route.routes:
            _guard(inner, f"{prefix}{route.path}", permissions)
        return
    if not isinstance(route, Route | WebSocketRoute | Mount):
        raise TypeError(f"{route!r} is not an HTTP route, a WebSocket route or a mount, so it cannot have a permission")
    by_method = {method: permission_for(f"{method} {prefix}{route.path}", permissions) for method in _methods_of(route)}
    route.app = Guard(route.app, by_method)


def _methods_of(route: Route | WebSocketRoute | Mount) -> set[str]:
    """Return the methods of a route that need a permission each."""
    if isinstance(route, WebSocketRoute):
        return {WEBSOCKET}
    methods = route.methods if isinstance(route, Route) else None
    return {_permission_method(method) for method in methods or {ANY}}


def _permission_method(method: str) -> str:
    return "GET" if method == "HEAD" else method


class Guard:
    """The guard of one route.

    Args:
        app: the guarded application.
        permissions: the permission of each method.
    """

    def __init__(self, app: ASGIApp, permissions: Mapping[str, RoutePermission]) -> None:
        self.app = app
        self.permissions = permissions

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse the request or pass it on; close a WebSocket at a mounted application, which has no permission."""
        permission = self._permission(scope)
        if permission is None:
            return WebSocketClose()(scope, receive, send)
        refusal = _refusal(permission, scope)
        if refusal is None:
            return self.app(scope, receive, send)
        return error_response(scope, refusal)(scope, receive, send)

    def _permission(self, scope: Scope) -> RoutePermission | None:
        if scope["type"] == "websocket":
            return self.permissions.get(WEBSOCKET)
        return self.permissions.get(ANY) or self.permissions[_permission_method(scope["method"])]


def _refusal(permission: RoutePermission, scope: Scope) -> StoreError | None:
    if permission is OPEN:
        return None
    session = scope["state"][SESSION]
    if isinstance(session, StoreError):
        return None if permission.is_open and permission.is_open(scope) else session
    scope["state"][ACCESS] = RouteAccess(session.caller, permission.role)
    if session.caller.everywhere < permission.role:
        return _forbidden(permission, HTTPConnection(scope))
    return None


def _forbidden(permission: RoutePermission, connection: HTTPConnection) -> StoreError | None:
    caller = caller_of(connection)
    try:
        if permission.projects is None:
            caller.check_anywhere(permission.role)  # the endpoint checks the project once it has read the body
        else:
            for project_id in permission.projects(connection):
                caller.require_role(permission.role, project_id)
    except StoreError as error:
        return error.with_traceback(None)
    return None
