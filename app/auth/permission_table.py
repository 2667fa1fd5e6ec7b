"""The table of permissions in the README."""

from collections.abc import Iterator
from typing import Final

from app.auth.route_permissions import GRPC, ROUTE_PERMISSIONS, WEBSOCKET, RoutePermission
from graphql_schema.permissions import permission_table

_KINDS: Final = {WEBSOCKET: "WebSocket", GRPC: "gRPC"}


def markdown_table() -> str:
    """Return the table as Markdown: first the GraphQL fields, then the routes."""
    head = ["| What | Takes the role | In which projects |", "| --- | --- | --- |"]
    return "\n".join([*head, *permission_table.lines(), *_route_rows()])


def _route_rows() -> Iterator[str]:
    """Yield the rows of routes; methods with the same permission share a row."""
    kinds: dict[str, dict[tuple[str, RoutePermission], list[str]]] = {}
    for route, permission in ROUTE_PERMISSIONS.items():
        method, _, path = route.partition(" ")
        kinds.setdefault(_KINDS.get(method, "HTTP"), {}).setdefault((path, permission), []).append(method)
    for kind, routes in kinds.items():
        yield from permission_table.grouped(
            kind, ((_label(path, of), each.role, each.projects_label) for (path, each), of in routes.items())
        )


def _label(path: str, methods: list[str]) -> str:
    return path if methods[0] in _KINDS else f"{', '.join(methods)} {path}"
