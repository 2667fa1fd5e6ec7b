"""Permissions of routes: the role that each requires, and the projects. The schema has those of its fields.

A route is a method at a path, such as `GET /healthz`. An application with a route that has no permission does not start
(`guard_routes`), nor does a gRPC server (`permission_for`). The page `app/docs/reference/permissions.md` is generated
from these permissions.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.http.connections import CALLER, SESSION, first_header, prefers_html
from app.http.errors import OTLP_PATHS, error_response
from stores.errors import StoreError
from stores.security.access import EVERY_PROJECT, Caller, Role

ACCESS: Final = "access"


class RouteAccess(NamedTuple):
    """A caller at a route that requires `role`, in projects that only the request body names."""

    caller: Caller
    role: Role

    def check(self, project_id: str, argument: str | None = "project_id") -> None:
        """Check that the caller has the role in a project; `argument` is the one that an error names.

        Raises:
            ForbiddenError: the caller does not have it.
        """
        self.caller.require_role(self.role, project_id, argument)


def caller_of(connection: HTTPConnection) -> Caller:
    """Return the caller of a connection, as authentication set it."""
    caller: Caller = connection.scope["state"][CALLER]
    return caller


def access_of(connection: HTTPConnection) -> RouteAccess:
    """Return the access that the route of a connection grants to its caller."""
    access: RouteAccess = connection.scope["state"][ACCESS]
    return access


@dataclass(frozen=True, slots=True)
class RoutePermission:
    """The role that a route requires, and its projects. `Role.NONE` admits every authenticated caller.

    Without `projects`, the guard requires the role in any project before the body is read, and the endpoint checks each
    project that it meets (`access_of`). `is_open` returns True for requests that need no credentials.
    `projects_label` describes the projects in the documentation.
    """

    role: Role
    projects_label: str
    projects: Callable[[HTTPConnection], Iterable[str]] | None = None
    is_open: Callable[[Scope], bool] | None = None


def _is_page(scope: Scope) -> bool:
    """Return True if a browser requests GraphiQL's page, which holds no data."""
    accept = first_header(scope["headers"], b"accept") or b""
    return scope["method"] == "GET" and prefers_html(accept.decode("latin-1"))


def _authenticates_later(scope: Scope) -> bool:
    """Return True without an Authorization header: browsers cannot send one and authenticate in the first message."""
    return all(name != b"authorization" for name, _ in scope["headers"])


ANY: Final = "ANY"
"""Stands for every HTTP method, for an application that handles methods itself."""

WEBSOCKET: Final = "WEBSOCKET"
"""Stands for the method of opening a WebSocket."""

GRPC: Final = "GRPC"
"""Stands for the method of a gRPC call; the gRPC server checks it and refuses with gRPC status codes."""

OPEN: Final = RoutePermission(Role.NONE, "any")
EVERYWHERE: Final = RoutePermission(Role.READER, "all projects", lambda _connection: [EVERY_PROJECT])
"""Permission of routes whose response is about the whole server."""

_GRAPHQL: Final = RoutePermission(Role.NONE, "the role of each field", is_open=_is_page)
_OTLP: Final = RoutePermission(Role.WRITER, "projects of the header, and of the resources in the request")

IN_PATH: Final = RoutePermission(
    Role.WRITER,
    "project in the path",
    lambda connection: ["{entity}/{project}".format_map(connection.path_params)],
)
"""Permission of routes that write to the project in their path."""

ROUTE_PERMISSIONS: Final = {
    "GET /": OPEN,
    f"{ANY} /graphql": _GRAPHQL,
    f"{WEBSOCKET} /graphql": replace(_GRAPHQL, is_open=_authenticates_later),
    f"{ANY} /graphiql": OPEN,
    f"{ANY} /explorer": OPEN,
    "GET /docs": OPEN,
    "GET /docs/{path:path}": OPEN,
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": EVERYWHERE,
    "PUT /files/{entity}/{project}": IN_PATH,
    "GET /files/{entity}/{project}/{digest}": replace(IN_PATH, role=Role.READER),
    "GET /export/{concept}": RoutePermission(
        Role.READER,
        "`projectId` in the query string",
        lambda connection: connection.query_params.getlist("projectId"),
    ),
    **{f"POST {path}": OPEN if path.endswith("metrics") else _OTLP for path in OTLP_PATHS},
    **{
        f"{GRPC} /opentelemetry.proto.collector.{service}/Export": _OTLP
        for service in ("trace.v1.TraceService", "logs.v1.LogsService")
    },
}
"""Permission by route; HEAD has that of GET. `app/weave/routes.py` has those of its own routes."""

API_WITHOUT_PAGE: Final = {f"{ANY} /graphql": replace(_GRAPHQL, is_open=None)}
"""Permission of the API without GraphiQL: a GET that prefers HTML reaches the API, and so needs credentials."""


def guard_routes(
    routes: Iterable[BaseRoute], permissions: Mapping[str, RoutePermission] = ROUTE_PERMISSIONS, prefix: str = ""
) -> list[BaseRoute]:
    """Put a guard before each route below a path prefix.

    Raises:
        TypeError: a route, or one of its methods, has no permission.
    """
    guarded = list(routes)
    for route in guarded:
        if not isinstance(route, Route | WebSocketRoute | Mount):
            raise TypeError(f"{route!r} is no HTTP route, WebSocket route or mount, so it cannot have a permission")
        path = f"{prefix}{route.path}"
        if isinstance(route, Mount) and route.routes:
            guard_routes(route.routes, permissions, path)
            continue
        methods = {WEBSOCKET} if isinstance(route, WebSocketRoute) else getattr(route, "methods", None) or {ANY}
        of_methods = {method: permission_for(f"{method} {path}", permissions) for method in map(_read_as_get, methods)}
        route.app = Guard(route.app, of_methods)
    return guarded


def permission_for(route_name: str, permissions: Mapping[str, RoutePermission] = ROUTE_PERMISSIONS) -> RoutePermission:
    """Return the permission of a route, such as `GET /healthz`.

    Raises:
        TypeError: the route has none.
    """
    if route_name not in permissions:
        raise TypeError(
            f"{route_name} has no permission: add the role that it requires to app/auth/permissions.py, or to "
            "app/weave/routes.py for a route of the Weave SDK"
        )
    return permissions[route_name]


def _read_as_get(method: str) -> str:
    return "GET" if method == "HEAD" else method


@dataclass(frozen=True, slots=True)
class Guard:
    """The guard of one route: it checks the caller's role before the endpoint reads the request.

    Args:
        app: the guarded application.
        permissions: the permission of each method.
    """

    app: ASGIApp
    permissions: Mapping[str, RoutePermission]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse the request or pass it on; close a WebSocket at a mounted application, which has no permission."""
        if scope["type"] == "websocket":
            permission = self.permissions.get(WEBSOCKET)
        else:
            permission = self.permissions.get(ANY) or self.permissions[_read_as_get(scope["method"])]
        if permission is None:
            return WebSocketClose()(scope, receive, send)
        try:
            _check(permission, scope)
        except StoreError as error:
            return error_response(scope, error.with_traceback(None))(scope, receive, send)
        return self.app(scope, receive, send)


def _check(permission: RoutePermission, scope: Scope) -> None:
    """Check a request, and set the access that the route grants.

    Raises:
        StoreError: the caller is not authenticated, or does not have the role.
    """
    if permission is OPEN:
        return
    session = scope["state"][SESSION]
    if isinstance(session, StoreError):
        if permission.is_open and permission.is_open(scope):
            return
        raise session
    caller, role = session.caller, permission.role
    scope["state"][ACCESS] = RouteAccess(caller, role)
    if caller.everywhere >= role:
        return
    if permission.projects is None:
        caller.check_anywhere(role)  # the endpoint checks the project once it has read the body
    else:
        for project_id in permission.projects(HTTPConnection(scope)):
            caller.require_role(role, project_id)
