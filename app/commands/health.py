"""`loomql health`: check of a running server; imports little, because container health checks run it often."""

import http.client
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Final

ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound
"""Address at which to reach a server that listens on all addresses."""


def url_of(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on `host`."""
    host = ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def add_commands(add: Callable[..., ArgumentParser]) -> None:
    """Add `health`."""
    with_flags(add("health", health, help="check whether a server is up, for container health checks"))


def run(arguments: Sequence[str]) -> int:
    """Run `health` without loading the other subcommands."""
    return health(with_flags(ArgumentParser(prog="loomql health")).parse_args(arguments))


def with_flags(parser: ArgumentParser) -> ArgumentParser:
    """Add the flags; their defaults copy those of `Settings`, which takes a second to import."""
    parser.add_argument("--host", default=_setting("HOST", "127.0.0.1"), help="address of the server (LOOMQL_HOST)")
    parser.add_argument("--port", type=int, default=_setting("PORT", "8000"), help="port of the server (LOOMQL_PORT)")
    parser.add_argument("--ready", action="store_true", help="check the database, too")
    return parser


def _setting(name: str, default: str) -> str:
    return os.environ.get(f"LOOMQL_{name}") or default


def health(options: Namespace) -> int:
    """Check a server; return 1 if it is not up, or with `--ready` not ready."""
    host = ANY_ADDRESS.get(options.host, options.host)
    path = "/readyz" if options.ready else "/healthz"
    # Longer than the server's own timeout for the database.
    answer = ask(host, options.port, path, float(_setting("DATABASE_TIMEOUT_SECONDS", "3")) + 1)
    text = answer.get("reason") or answer.get("status") or f"no LoomQL server answers at {host} port {options.port}"
    sys.stdout.write(f"{text}\n")
    return 0 if answer.get("status") == "ok" else 1


def ask(host: str, port: int, path: str, timeout_seconds: float) -> dict[str, str]:
    """Return the JSON response of `/healthz` or `/readyz`; empty if there is none or it is not from LoomQL."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read(1000))
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}
