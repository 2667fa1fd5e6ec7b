"""Doors: which part of the service a request is for, by the beginning of its path; few, whatever clients ask for."""

from collections.abc import Mapping
from typing import Final

OTHER: Final = "other"
WEBSOCKET: Final = "websocket"
EVENTS: Final = "sse"
GRPC: Final = "otlp-grpc"

_BY_PATH: Final[Mapping[str, str]] = {
    "/graphql": "graphql",
    "/v1/traces": "otlp",
    "/otel/v1/traces": "otlp",
    **{f"{prefix}/v1/{signal}": "otlp" for prefix in ("", "/otel") for signal in ("logs", "metrics")},
    "/healthz": "health",
    "/readyz": "health",
    "/metrics": "metrics",
    "/": "home",
}
_BY_BEGINNING: Final[Mapping[str, str]] = {
    "files": "files",
    "export": "export",
    "weave": "weave",
    "graphiql": "graphiql",
    "docs": "docs",
}


def endpoint_of(path: str) -> str:
    """The door that a path leads to."""
    door = _BY_PATH.get(path)
    return door or _BY_BEGINNING.get(path.split("/", 2)[1] if path[:1] == "/" else "", OTHER)
