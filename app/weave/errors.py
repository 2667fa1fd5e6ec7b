"""Errors of requests of the Weave SDK."""

import logging
from typing import Final

from pydantic import ValidationError

from app.http.errors import HttpError, weave_status
from stores.errors import BadInputError, RateLimitedError, StoreError

_SHOWN: Final = 5
_SERVERS_FAULT: Final = 500

log: Final = logging.getLogger("loomql")


class InvalidRequestError(HttpError, BadInputError):
    """A required field of the request is missing or has the wrong type."""

    status = 422


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


def is_passing(error: StoreError) -> bool:
    """True if the item may be stored when the client sends it again."""
    return weave_status(error) >= _SERVERS_FAULT or isinstance(error, RateLimitedError)
