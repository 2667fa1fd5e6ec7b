"""Request ids: valid ones from clients, and new ones."""

import itertools
import re
import secrets
from collections.abc import Iterator
from typing import Final

HEADER: Final = b"x-request-id"

_VALID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._~+/=:@-]{0,127}")
"""Allowed ids of clients, which are written to logs and headers unchanged."""


def valid_id(value: bytes) -> str | None:
    """Return a client's id, or None if it is not allowed."""
    return value.decode() if _VALID.fullmatch(value) else None


def new_ids() -> Iterator[str]:
    """Return an endless iterator of ids that are unique across processes."""
    own = secrets.token_hex(8)
    return map(f"{own}-{{:x}}".format, itertools.count(1))
