"""Durations on the command line, such as `90d`."""

import re
from typing import Final

from stores import times
from stores.errors import BadInputError

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)


def seconds_of(text: str, argument: str) -> int:
    """Return the seconds of a duration such as `90d`, `12h`, `30m` or `45s`.

    Raises:
        BadInputError: the text is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        raise BadInputError(
            f"{text[:64]!r} is not a duration; write a number and s, m, h, d or w, such as 90d", argument
        )
    return int(match[1]) * _UNITS[match[2]]


def end_of(text: str, argument: str) -> int:
    """Return a future time in microseconds since the epoch, from a duration such as `90d` or a time in ISO 8601.

    Raises:
        BadInputError: the text is neither.
    """
    if _DURATION.fullmatch(text):
        return times.now() + seconds_of(text, argument) * times.SECOND
    try:
        return times.parse(text)
    except BadInputError as error:
        message = f"{text[:64]!r} is neither a duration such as 90d nor a time such as 2030-01-31T12:00:00Z"
        raise BadInputError(message, argument) from error
