"""Error responses for the Weave SDK: a status, and the reason as JSON."""

import logging
from typing import Final

from pydantic import ValidationError
from starlette.responses import Response

from app.observability import request_record
from graphql_schema.errors import masked_error
from stores.errors import (
    BadInputError,
    ConflictError,
    IdTakenError,
    RateLimitedError,
    StoreError,
    UnavailableError,
    retry_after,
)
from stores.json import codec

INVALID: Final = 422
_TAKEN: Final = 409
_INTERNAL: Final = 500
_STATUS_BY_CODE: Final = {
    "BAD_USER_INPUT": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "OBJECT_DELETED": 404,
    "CONFLICT": 503,
    "PAYLOAD_TOO_LARGE": 413,
    "RATE_LIMITED": 429,
    "UNAVAILABLE": 503,
    "TIMEOUT": 504,
}
_SHOWN: Final = 5

log: Final = logging.getLogger("loomql")


class InvalidRequestError(BadInputError):
    """A required field of the request is missing or has the wrong type."""


def invalid(error: ValidationError, at: str = "") -> InvalidRequestError:
    """Convert pydantic's validation error; its argument is the first invalid field.

    Args:
        error: the validation error.
        at: location of the validated value in the request.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    messages = [f"{_location(problem['loc'], at)}: {problem['msg']}" for problem in problems[:_SHOWN]]
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    first = messages[0].partition(": ")
    return InvalidRequestError("; ".join([first[2], *messages[1:]]) + more, first[0])


def _location(steps: tuple[int | str, ...], at: str) -> str:
    return ".".join(map(str, (*([at] if at else ()), *steps))) or "the body"


def reason(error: StoreError) -> str:
    """Return the error as one sentence that starts with the invalid argument."""
    return error.message if error.argument is None else f"{error.argument}: {error.message}"


def status_of(error: StoreError) -> int:
    """Return the HTTP status of an error. The SDK retries 5xx, so only errors that can pass get one."""
    match error:
        case InvalidRequestError():
            return INVALID
        case IdTakenError():
            return _TAKEN
        case _:
            return _STATUS_BY_CODE.get(error.code, _INTERNAL)


def is_passing(error: StoreError) -> bool:
    """True if the item may be stored when the client sends it again."""
    return status_of(error) >= _INTERNAL or isinstance(error, RateLimitedError)


def refusal(error: StoreError) -> Response:
    """Return the response to a refused or invalid request."""
    seconds = retry_after(error)
    if isinstance(error, ConflictError) and is_passing(error):
        seconds = UnavailableError.retry_after_seconds
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    request_record.record_error(error.code)
    return answer({"reason": reason(error), **error.details}, status_of(error), headers)


def failure(error: Exception, where: str) -> Response:
    """Return the response to an unexpected failure; its message has the id under which the log has the details."""
    request_record.record_error(request_record.INTERNAL)
    return answer({"reason": masked_error(error, where).message}, _INTERNAL)


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(codec.dumps(content), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")
