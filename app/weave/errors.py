"""What is refused at the Weave SDK's door, told as its client understands it: a status, and the reason in JSON."""

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
    """A request lacks a field, or has one of the wrong type."""


def invalid(error: ValidationError, at: str = "") -> InvalidRequestError:
    """What is wrong with the fields of a request, the first of which the argument names; `at` is where they stand."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{_place(problem['loc'], at)}: {problem['msg']}" for problem in problems[:_SHOWN]]
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    first = told[0].partition(": ")
    return InvalidRequestError("; ".join([first[2], *told[1:]]) + more, first[0])


def _place(steps: tuple[int | str, ...], at: str) -> str:
    return ".".join(map(str, (*([at] if at else ()), *steps))) or "the body"


def reason(error: StoreError) -> str:
    """The error in one sentence, the argument at fault first."""
    return error.message if error.argument is None else f"{error.argument}: {error.message}"


def status_of(error: StoreError) -> int:
    """The HTTP status of an error; its client sends again what is answered by 5xx, and by nothing else."""
    match error:
        case InvalidRequestError():
            return INVALID
        case IdTakenError():
            return _TAKEN
        case _:
            return _STATUS_BY_CODE.get(error.code, _INTERNAL)


def is_passing(error: StoreError) -> bool:
    """Whether it may be stored when it is sent again, as its client does then."""
    return status_of(error) >= _INTERNAL or isinstance(error, RateLimitedError)


def refusal(error: StoreError) -> Response:
    """The answer to what was refused."""
    seconds = retry_after(error)
    if isinstance(error, ConflictError) and is_passing(error):
        seconds = UnavailableError.retry_after_seconds
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    request_record.record_error(error.code)
    return answer({"reason": reason(error), **error.details}, status_of(error), headers)


def failure(error: Exception, where: str) -> Response:
    """The answer to a failure that nobody expected; the log has the rest under the id in it."""
    request_record.record_error(request_record.INTERNAL)
    return answer({"reason": masked_error(error, where).message}, _INTERNAL)


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Any answer in JSON."""
    return Response(codec.dumps(content), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")
