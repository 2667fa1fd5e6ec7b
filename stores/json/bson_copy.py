"""The BSON copy of a JSON value, which queries search.

It is never returned to clients, so it approximates values that BSON cannot hold.
"""

import re
from functools import lru_cache
from typing import Final

from stores.json.inspection import INT64, MAX_DEPTH, ODD_KEY, JsonTraits, traits_of

_MAX_CACHED_LENGTH: Final = 64


def to_bson(value: object, traits: JsonTraits | None = None) -> object:
    """Convert a value for MongoDB: keys escaped, integers beyond int64 as doubles, levels that are too deep as null.

    Nearly all values need no conversion and are returned uncopied. Pass `traits` if they are known already.
    """
    if isinstance(value, dict | list) and not (traits or traits_of(value)).needs_conversion:
        return value
    return _converted(value, MAX_DEPTH)


def _converted(value: object, depth: int) -> object:
    if isinstance(value, dict):
        return {escape_key(key): _converted(inner, depth - 1) for key, inner in value.items()} if depth else None
    if isinstance(value, list):
        return [_converted(inner, depth - 1) for inner in value] if depth else None
    if isinstance(value, int) and not -INT64 <= value < INT64:
        return _double(value)
    return value


def escape_key(key: str) -> str:
    """Escape a key for MongoDB: dots, NUL, a leading `$` and the escape sign `%` become percent codes."""
    return _escaped_cached(key) if len(key) <= _MAX_CACHED_LENGTH else _escaped(key)


def _escaped(key: str) -> str:
    return ODD_KEY.sub(lambda match: f"%{ord(match[0]):02X}", key) if ODD_KEY.search(key) else key


def unescape_key(key: str) -> str:
    """Return the JSON key that `escape_key` turned into this one."""
    return _CODE.sub(lambda match: chr(int(match[1], 16)), key) if "%" in key else key


_CODE: Final = re.compile("%([0-9A-F]{2})")
_escaped_cached: Final = lru_cache(10_000)(_escaped)
"""Cached: a program sends the same few keys again and again."""


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
