"""The BSON copy of a JSON value that queries look into; what BSON cannot hold is bent, since it is never returned."""

import re
from functools import lru_cache
from typing import Final

from stores.json.inspection import INT64, MAX_DEPTH, ODD_KEY, JsonTraits, shape_of

_LONGEST_KEPT: Final = 64


def to_bson(value: object, shape: JsonTraits | None = None) -> object:
    """A value that mongod takes: keys escaped, integers beyond int64 as doubles, what nests too deeply as null.

    A value that mongod takes as it is, as nearly all are, is not copied; its shape tells, if it is known.
    """
    if isinstance(value, dict | list) and not (shape or shape_of(value)).is_odd:
        return value
    return _bent(value, MAX_DEPTH)


def _bent(value: object, depth: int) -> object:
    if isinstance(value, dict):
        return {mirror_key(key): _bent(inner, depth - 1) for key, inner in value.items()} if depth else None
    if isinstance(value, list):
        return [_bent(inner, depth - 1) for inner in value] if depth else None
    if isinstance(value, int) and not -INT64 <= value < INT64:
        return _double(value)
    return value


def mirror_key(key: str) -> str:
    """A key as the mirror holds it: dots, NUL, a leading `$` and the escape `%` itself as percent codes."""
    return _escaped_again(key) if len(key) <= _LONGEST_KEPT else _escaped(key)


def _escaped(key: str) -> str:
    return ODD_KEY.sub(lambda odd: f"%{ord(odd[0]):02X}", key) if ODD_KEY.search(key) else key


def unescape_key(key: str) -> str:
    """The key that the mirror holds as this one."""
    return _CODE.sub(lambda code: chr(int(code[1], 16)), key) if "%" in key else key


_CODE: Final = re.compile("%([0-9A-F]{2})")
_escaped_again: Final = lru_cache(10_000)(_escaped)
"""The same for keys that are kept: programs send the same few again and again."""


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
