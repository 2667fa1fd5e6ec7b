"""The headers Range, If-Range, If-None-Match and If-Match of a file request."""

import re
from collections.abc import Mapping
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


class UnsatisfiableError(Exception):
    """The requested range starts beyond the end."""


def byte_range(headers: Mapping[str, str], size: int, etag: str) -> tuple[int, int] | None:
    """Return the requested range as first position and position after the last; None for the whole content.

    Several ranges, other units and malformed headers count as no range, as RFC 9110 allows.

    Raises:
        UnsatisfiableError: the range contains no byte.
    """
    match = _ONE_RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, size)
    start = int(first)
    stop = int(last) + 1 if last else size
    if stop <= start < size:
        return None
    if start >= size:
        raise UnsatisfiableError
    return start, min(stop, size)


def _suffix(length: str, size: int) -> tuple[int, int] | None:
    if not length:
        return None
    if int(length) == 0 or size == 0:
        raise UnsatisfiableError
    return max(0, size - int(length)), size


def names(header: str, etag: str) -> bool:
    """Return True if an If-None-Match or If-Match header names an entity tag; weak tags match, too."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return bool(tags & {"*", etag})
