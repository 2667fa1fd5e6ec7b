"""Check of the Host header on a server without API keys, against DNS rebinding.

A page of any site can point its own host name to 127.0.0.1 after it was loaded. The browser then treats the local
server as that page's own origin, and only the Host header shows that it is not.
"""

from collections.abc import Awaitable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.credentials import first_header
from app.http.errors import error_response
from app.http.loopback import is_for_this_machine
from app.http.scope_state import CALLER
from stores.errors import ForbiddenError

if TYPE_CHECKING:
    from stores.security.access import Caller

EVERY: Final = "*"


def allowed_hosts(host: str, allowed: str) -> frozenset[str] | None:
    """Return the host names allowed for a server that listens at `host`, besides loopback names; None allows all.

    `allowed` is a list with commas. If it is empty, a server on the loopback allows no other name. Any other server
    allows all, because the names of its network are unknown here.
    """
    names = frozenset(name.strip().lower().strip("[]") for name in allowed.split(",") if name.strip())
    if EVERY in names:
        return None
    return names if names or is_for_this_machine(host.strip("[]").lower()) else None


class HostCheckMiddleware:
    """ASGI middleware that refuses other host names if the connection needs no credentials.

    A caller with a key may use any name: pages do not have the key.
    """

    def __init__(self, app: ASGIApp, allowed_names: Iterable[str]) -> None:
        self.app = app
        self.allowed_names = frozenset(allowed_names)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse a request with another host name, or pass it on."""
        if scope["type"] != "lifespan" and _needs_no_credentials(scope):
            host = first_header(scope["headers"], b"host") or b""
            if not _is_allowed(self.allowed_names, host):
                return error_response(scope, _host_error(host.decode("latin-1")))(scope, receive, send)
        return self.app(scope, receive, send)


@lru_cache(maxsize=100)
def _is_allowed(allowed_names: frozenset[str], header: bytes) -> bool:
    host = header.decode("latin-1")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    # Browsers resolve names under localhost to the loopback only. HTTP/1.0 clients may send no Host header.
    return name in allowed_names or name.endswith(".localhost") or is_for_this_machine(name) or not host


def _needs_no_credentials(scope: Scope) -> bool:
    caller: Caller | None = scope.get("state", {}).get(CALLER)
    # Health probes use any name of the server. Their caller has no grants, and the response reveals only whether the
    # database answers.
    return caller is not None and caller.is_anonymous and bool(caller.grants)


def _host_error(host: str) -> ForbiddenError:
    return ForbiddenError(
        f"this server has no API keys, so it accepts only known host names, and {host[:200]!r} is not one of them; add "
        "it to LOOMQL_ALLOWED_HOSTS on the server, or create a key"
    )
