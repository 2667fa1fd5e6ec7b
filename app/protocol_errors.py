"""What is refused before it comes to a door, told as that door's clients understand it."""

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
    """The answer to a request, or to a WebSocket that is to be opened, that comes no further."""
    path: str = scope["path"]
    if path in PATHS or path in UNSTORED:
        return otlp.refusal(error, Headers(scope=scope).get("content-type", ""))
    if path.startswith(f"{WEAVE}/"):
        return weave.refusal(error)
    return error_response(error)
