"""Error responses in the format that the clients of a path understand: OTLP, Weave or JSON."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from app.error_responses import error_response
from app.otlp import responses as otlp
from app.otlp.endpoint import PATHS, UNSTORED
from app.weave import errors as weave
from app.weave.routes import PREFIX as WEAVE
from stores.errors import StoreError


def error_response_for_path(scope: Scope, error: StoreError) -> Response:
    """Return the response to a request, or to the opening of a WebSocket, that fails before its endpoint."""
    path: str = scope["path"]
    if path in PATHS or path in UNSTORED:
        return otlp.refusal(error, Headers(scope=scope).get("content-type", ""))
    if path.startswith(f"{WEAVE}/"):
        return weave.refusal(error)
    return error_response(error)
