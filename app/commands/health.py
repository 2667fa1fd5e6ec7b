"""`loomql health`: whether a server is up, asked as often as a health check does, and so with little else imported."""

import http.client
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Final

ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound
"""Where a server is asked that listens on every address."""


def add_health(add: Callable[..., ArgumentParser]) -> None:
    """`health`."""
    told = "check whether a server is up, for container health checks"
    with_flags(add("health", help=told)).set_defaults(command=health)


def run(arguments: Sequence[str]) -> int:
    """Run it without all other subcommands."""
    return health(with_flags(ArgumentParser(prog="loomql health")).parse_args(arguments))


def with_flags(parser: ArgumentParser) -> ArgumentParser:
    """A parser with its flags, whose defaults are those of `Settings`, which would take a second."""
    parser.add_argument("--host", default=_set("HOST", "127.0.0.1"), help="address of the server (LOOMQL_HOST)")
    parser.add_argument("--port", type=int, default=_set("PORT", "8000"), help="port of the server (LOOMQL_PORT)")
    parser.add_argument("--ready", action="store_true", help="check the database, too")
    return parser


def _set(name: str, default: str) -> str:
    return os.environ.get(f"LOOMQL_{name}") or default


def health(options: Namespace) -> int:
    """Ask a server; 1 if it is not up, or not ready."""
    host = ANY_ADDRESS.get(options.host, options.host)
    path = "/readyz" if options.ready else "/healthz"
    # A little more than the server takes to find out.
    answer = ask(host, options.port, path, float(_set("DATABASE_TIMEOUT_SECONDS", "3")) + 1)
    told = answer.get("reason") or answer.get("status") or f"nobody answers at {host} port {options.port}"
    sys.stdout.write(f"{told}\n")
    return 0 if answer.get("status") == "ok" else 1


def ask(host: str, port: int, path: str, timeout_seconds: float) -> dict[str, str]:
    """What a server answers at `/healthz` or `/readyz`; empty where it is silent or no LoomQL."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read(1000))
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}
