"""Op names from span names, which may be longer."""

import hashlib
import re
from typing import Final

from stores.calls.inputs import MAX_OP_NAME

_HASH_DIGITS: Final = 4
_WORD: Final = re.compile(r"[,;| /?.]*[^,;| /?.]+")
"""A word with its preceding delimiters, the same ones as in Weave."""


def shortened(name: str) -> str:
    """Return the name; a too long one becomes its first words and four digits of its SHA-256.

    The call's attributes keep the whole name as `otel_span.name`.
    """
    if len(name) <= MAX_OP_NAME:
        return name
    room = MAX_OP_NAME - 1 - _HASH_DIGITS
    end = 0
    for word in _WORD.finditer(name, 0, room):
        if word.end() == room:  # Weave cuts before a word that fills the limit exactly
            break
        end = word.end()
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[: end or room]}:{digest}"
