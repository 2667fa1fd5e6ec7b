"""All rulings as the README has them."""

from collections.abc import Iterator
from typing import Final

from app.auth.route_permissions import GRPC, ROUTE_PERMISSIONS, WEBSOCKET, RoutePermission
from graphql_schema.permissions import permission_table

_KINDS: Final = {WEBSOCKET: "WebSocket", GRPC: "gRPC"}


def markdown_table() -> str:
    """The table of permissions."""
    head = ["| What | Takes the role | In which projects |", "| --- | --- | --- |"]
    return "\n".join([*head, *permission_table.lines(), *_doors()])


def _doors() -> Iterator[str]:
    """The rows of doors; methods that are alike at a path stand before it."""
    kinds: dict[str, dict[tuple[str, RoutePermission], list[str]]] = {}
    for door, ruling in ROUTE_PERMISSIONS.items():
        method, _, path = door.partition(" ")
        kinds.setdefault(_KINDS.get(method, "HTTP"), {}).setdefault((path, ruling), []).append(method)
    for kind, doors in kinds.items():
        yield from permission_table.grouped(
            kind, ((_told(path, of), each.role, each.place) for (path, each), of in doors.items())
        )


def _told(path: str, methods: list[str]) -> str:
    return path if methods[0] in _KINDS else f"{', '.join(methods)} {path}"
