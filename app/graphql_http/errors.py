"""Requests that are not answered by executing them, and the statuses of errors over HTTP."""

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
    """A request that is not answered by executing it; the message says what to change."""

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
    """The refusal of what may be sent again after a while."""
    seconds = retry_after(error)
    headers = {"Retry-After": str(seconds)}
    return RequestError(STATUS_BY_CODE[error.code], f"{error.message}.", error.code, headers, **{RETRY_AFTER: seconds})


def timed_out(error: BodyTimeoutError) -> RequestError:
    """The refusal of a client that sends its body too slowly."""
    return RequestError(BODY_TIMEOUT_STATUS, f"{error.message}.", error.code, {"Connection": "close"})


def not_here(operation_type: OperationType) -> RequestError:
    """The refusal of an operation that goes another way."""
    if operation_type is OperationType.MUTATION:
        return RequestError(405, "Send a mutation by POST; GET only reads.", headers={"Allow": "POST"})
    return RequestError(
        400,
        f"Accept {EVENT_STREAM} to run a subscription, or run it over a WebSocket to this same address, "
        "protocol graphql-transport-ws.",
    )
