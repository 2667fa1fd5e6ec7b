"""The BSON copy of a JSON value that queries look into; what BSON cannot hold is bent, since it is never returned."""

import re
from typing import Final

MAX_DEPTH: Final = 100
"""Levels of a mirror; mongod refuses documents of 180, and a mirror stands inside one."""

_INT64: Final = 1 << 63
_ODD_KEY: Final = re.compile(r"[.%\0]|\A\$")


def mirror(value: object, depth: int = MAX_DEPTH) -> object:
    """A value that mongod takes: keys escaped, integers beyond int64 as doubles, what nests too deeply as null."""
    if isinstance(value, dict):
        return {mirror_key(key): mirror(inner, depth - 1) for key, inner in value.items()} if depth else None
    if isinstance(value, list):
        return [mirror(inner, depth - 1) for inner in value] if depth else None
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return _double(value)
    return value


def mirror_key(key: str) -> str:
    """A key as the mirror holds it: dots, NUL, a leading `$` and the escape `%` itself as percent codes."""
    return _ODD_KEY.sub(lambda odd: f"%{ord(odd[0]):02X}", key) if _ODD_KEY.search(key) else key


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
