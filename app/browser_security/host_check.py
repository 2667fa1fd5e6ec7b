"""The names that a server without keys answers to.

A page of any site can have its own name lead to 127.0.0.1 a moment after it was loaded (DNS rebinding). To the browser
it is then at home on the server of whoever reads it, and only the header Host tells that it is not.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.credentials import first_header
from app.http.loopback import is_for_this_machine
from app.http.scope_state import CALLER
from stores.errors import ForbiddenError, StoreError

if TYPE_CHECKING:
    from stores.security.access import Caller

EVERY: Final = "*"


def allowed_hosts(host: str, allowed: str) -> frozenset[str] | None:
    """The names that a server answers to which listens at `host`, beside those of the loopback; None for every one.

    `allowed` is a list with commas between them. Without it a server on the loopback answers to no other, any other
    server, which has a network in front of it that nobody can know here, to every one.
    """
    given = frozenset(name.strip().lower().strip("[]") for name in allowed.split(",") if name.strip())
    if EVERY in given:
        return None
    return given if given or is_for_this_machine(host.strip("[]").lower()) else None


class HostCheckMiddleware:
    """The ASGI middleware that lets nobody in by another name, where whoever asks need not say who they are.

    Who has a key is let in by any name: no page has it.
    """

    def __init__(
        self, app: ASGIApp, names: Iterable[str], error_response: Callable[[Scope, StoreError], Response]
    ) -> None:
        self.app = app
        self.error_response = error_response
        self.names = frozenset(names)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse a request by another name, or go on."""
        if scope["type"] != "lifespan" and _is_open(scope):
            host = first_header(scope["headers"], b"host") or b""
            if not _is_among(self.names, host):
                return self.error_response(scope, _refused(host.decode("latin-1")))(scope, receive, send)
        return self.app(scope, receive, send)


@lru_cache(maxsize=100)
def _is_among(names: frozenset[str], header: bytes) -> bool:
    host = header.decode("latin-1")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    # Browsers let names under localhost lead nowhere else. Programs that speak HTTP/1.0 say none.
    return name in names or name.endswith(".localhost") or is_for_this_machine(name) or not host


def _is_open(scope: Scope) -> bool:
    caller: Caller | None = scope.get("state", {}).get(CALLER)
    # Probes ask for health by any name of the server. They get no caller with grants, and no page learns more there
    # than whether the database answers.
    return caller is not None and caller.is_anonymous and bool(caller.grants)


def _refused(host: str) -> ForbiddenError:
    return ForbiddenError(
        f"this server has no keys, so it answers only to its own names, and {host[:200]!r} is none of them; name it in "
        "LOOMQL_ALLOWED_HOSTS on the server, or make keys"
    )
