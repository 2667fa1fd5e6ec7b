"""Endpoint names for metrics and logs: a fixed set, derived from the start of the path."""

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
_BY_PREFIX: Final[Mapping[str, str]] = {
    "files": "files",
    "export": "export",
    "weave": "weave",
    "graphiql": "graphiql",
    "docs": "docs",
}


def endpoint_of(path: str) -> str:
    """Return the endpoint name of a path."""
    endpoint = _BY_PATH.get(path)
    return endpoint or _BY_PREFIX.get(path.split("/", 2)[1] if path[:1] == "/" else "", OTHER)
