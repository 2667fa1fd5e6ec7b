"""The BSON copy of a JSON value that queries look into; what BSON cannot hold is bent, since it is never returned."""

import re
from collections.abc import Iterable
from typing import Final

MAX_DEPTH: Final = 100
"""Levels of a mirror; mongod refuses documents of 180, and a mirror stands inside one."""

_INT64: Final = 1 << 63
_ODD_KEY: Final = re.compile(r"[.%\0]|\A\$")
_ODD_KEYS: Final = re.compile(r"[.%\0]|^\$", re.MULTILINE)
_MAY_BE_ODD: Final = frozenset((dict, list, int))


def mirror(value: object, depth: int = MAX_DEPTH) -> object:
    """A value that mongod takes: keys escaped, integers beyond int64 as doubles, what nests too deeply as null.

    A value that mongod takes as it is, as nearly all are, is not copied.
    """
    return _bent(value, depth) if _is_odd(value, depth) else value


def _is_odd(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return not depth or bool(_ODD_KEYS.search("\n".join(value))) or _holds_odd(value.values(), depth - 1)
    if isinstance(value, list):
        return not depth or _holds_odd(value, depth - 1)
    return isinstance(value, int) and not -_INT64 <= value < _INT64


def _holds_odd(members: Iterable[object], depth: int) -> bool:
    return any(_is_odd(member, depth) for member in members if type(member) in _MAY_BE_ODD)


def _bent(value: object, depth: int) -> object:
    if isinstance(value, dict):
        return {mirror_key(key): _bent(inner, depth - 1) for key, inner in value.items()} if depth else None
    if isinstance(value, list):
        return [_bent(inner, depth - 1) for inner in value] if depth else None
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
