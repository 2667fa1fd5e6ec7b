"""How each door refuses who may not come in: by 401 with what it takes to come in, or by 403."""

from starlette.requests import HTTPConnection
from starlette.responses import Response

from app import refusals
from app.auth.credentials import CHALLENGE
from app.otlp import answers as otlp
from app.weave import errors as weave
from stores.errors import StoreError, UnauthenticatedError


def plainly(error: StoreError, _connection: HTTPConnection) -> Response:
    """As GraphQL, files and exports do."""
    return challenging(refusals.refusal(error), error)


def by_weave(error: StoreError, _connection: HTTPConnection) -> Response:
    """As the Weave SDK's door does."""
    return challenging(weave.refusal(error), error)


def by_otlp(error: StoreError, connection: HTTPConnection) -> Response:
    """As OTLP does."""
    return challenging(otlp.refusal(error, connection.headers.get("content-type", "")), error)


def challenging(response: Response, error: StoreError) -> Response:
    """A refusal with what it takes to come in, where that is what is lacking."""
    if isinstance(error, UnauthenticatedError):
        response.headers.update(CHALLENGE)
    return response
