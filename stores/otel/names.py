"""Names of ops out of names of spans, which may be longer."""

import hashlib
import re
from typing import Final

from stores.calls.inputs import MAX_OP_NAME

_HASH_DIGITS: Final = 4
_PIECE: Final = re.compile(r"[^\s/.:_|-]*[\s/.:_|-]*")


def shortened(name: str) -> str:
    """A name of fewer characters than ops may have: its first whole words, and a mark of four digits of all of it.

    The whole name is kept in the call's attributes, as `otel_span.name`.
    """
    if len(name) < MAX_OP_NAME:
        return name
    room = MAX_OP_NAME - 1 - _HASH_DIGITS
    end = 0
    for piece in _PIECE.finditer(name, 0, room + MAX_OP_NAME):
        if piece.end() > room:
            break
        end = piece.end()
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[: end or room].rstrip(' /.:_|-') or name[:room]}:{digest}"
