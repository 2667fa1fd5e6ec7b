"""How each door refuses who may not come in: by 401 with what it takes to come in, or by 403."""

from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from app import refusals
from app.access.credentials import CHALLENGE
from app.media_types import media_type_of
from app.otlp.answers import JSON, PROTOBUF, failure
from app.weave import errors as weave
from stores.errors import StoreError, UnauthenticatedError

_STATUS_BY_CODE: Final = {"UNAUTHENTICATED": 401, "FORBIDDEN": 403, "UNAVAILABLE": 503, "TIMEOUT": 504}


def plainly(error: StoreError, _connection: HTTPConnection) -> Response:
    """As files and exports do."""
    return _challenging(refusals.refusal(error), error)


def by_graphql(error: StoreError, connection: HTTPConnection) -> Response:
    """As GraphQL does over HTTP."""
    return plainly(error, connection)


def by_weave(error: StoreError, _connection: HTTPConnection) -> Response:
    """As the Weave SDK's door does."""
    return _challenging(weave.refusal(error), error)


def by_otlp(error: StoreError, connection: HTTPConnection) -> Response:
    """As OTLP does."""
    asked = media_type_of(connection.headers.get("content-type", ""))[0]
    status = _STATUS_BY_CODE.get(error.code, 500)
    return _challenging(failure(error, status, asked if asked == PROTOBUF else JSON), error)


def _challenging(response: Response, error: StoreError) -> Response:
    if isinstance(error, UnauthenticatedError):
        response.headers.update(CHALLENGE)
    return response
