"""Errors of requests that are not executed, and HTTP status codes by error code."""

from collections.abc import Mapping
from typing import Final

from strawberry.types.graphql import OperationType

from app.graphql_http.trusted_documents import NOT_FOUND
from app.http.media_types import EVENT_STREAM
from app.http.request_body import BODY_TIMEOUT_STATUS, BodyTimeoutError
from graphql_schema.errors import RETRY_AFTER
from stores.errors import StoreError, retry_after

TOO_LARGE: Final = 413
INTERNAL: Final = 500
UNAVAILABLE: Final = 503
STATUS_BY_CODE: Final = {
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "RATE_LIMITED": 429,
    NOT_FOUND: 404,
    "INTERNAL": INTERNAL,
    "UNAVAILABLE": UNAVAILABLE,
    "TIMEOUT": 504,
}


class RequestError(Exception):
    """The request is not executed; the message says what to change."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "BAD_USER_INPUT",
        headers: Mapping[str, str] | None = None,
        **extensions: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.extensions = {"code": code, **extensions}
        self.payload = {"message": message, "extensions": self.extensions}


def retry_later_error(error: StoreError) -> RequestError:
    """Return the error for a temporary failure, with a Retry-After header."""
    seconds = retry_after(error)
    headers = {"Retry-After": str(seconds)}
    return RequestError(STATUS_BY_CODE[error.code], f"{error.message}.", error.code, headers, **{RETRY_AFTER: seconds})


def timed_out(error: BodyTimeoutError) -> RequestError:
    """Return the error for a client that sends its body too slowly."""
    return RequestError(BODY_TIMEOUT_STATUS, f"{error.message}.", error.code, {"Connection": "close"})


def not_here(operation_type: OperationType) -> RequestError:
    """Return the error for an operation type that this request cannot run."""
    if operation_type is OperationType.MUTATION:
        return RequestError(405, "Send a mutation by POST; GET only reads.", headers={"Allow": "POST"})
    return RequestError(
        400,
        f"Accept {EVENT_STREAM} to run a subscription, or run it over a WebSocket to the same URL with the protocol "
        "graphql-transport-ws.",
    )
