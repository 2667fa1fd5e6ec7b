"""Ids of requests: those that come from outside and are sane, and new ones."""

import itertools
import re
import secrets
from collections.abc import Iterator
from typing import Final

HEADER: Final = b"x-request-id"

_SANE: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._~+/=:@-]{0,127}")
"""What may come from outside: it is written into logs and headers as it is."""


def sane(value: bytes) -> str | None:
    """An id that came, None where it is none that may be kept."""
    return value.decode() if _SANE.fullmatch(value) else None


def new_ids() -> Iterator[str]:
    """Ids without end, which no other process makes."""
    own = secrets.token_hex(8)
    return map(f"{own}-{{:x}}".format, itertools.count(1))
