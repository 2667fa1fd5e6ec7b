"""What is refused before it comes to a door, told as that door's clients understand it."""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from app.otlp import answers as otlp
from app.otlp.endpoint import PATHS, UNSTORED
from app.refusals import refusal
from app.weave import errors as weave
from app.weave.door import PREFIX as WEAVE
from stores.errors import StoreError

MONITORING: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""What those who watch over the server ask for, as often as they like."""

STATIC: Final = ("/graphiql/", "/docs/")
"""Path prefixes of static files, the same for every caller; one page loads dozens of them."""


def refusal_at(scope: Scope, error: StoreError) -> Response:
    """The answer to a request, or to a WebSocket that is to be opened, that comes no further."""
    path: str = scope["path"]
    if path in PATHS or path in UNSTORED:
        return otlp.refusal(error, Headers(scope=scope).get("content-type", ""))
    if path.startswith(f"{WEAVE}/"):
        return weave.refusal(error)
    return refusal(error)
