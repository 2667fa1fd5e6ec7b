"""The BSON copy of a JSON value, which queries search; and traits of a JSON value, found in one traversal.

The copy is never returned to clients, so it approximates values that BSON cannot hold.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from stores.json import codec

MAX_DEPTH: Final = 100
"""Maximum levels of a BSON copy. MongoDB refuses documents of 180 levels, and a copy lies inside a document."""

INT64: Final = 1 << 63
ODD_KEY: Final = re.compile(r"[.%\0]|\A\$")
"""A key that MongoDB would misread, or that contains the escape sign."""

_WITHOUT_EXPONENT: Final = 1e-4, 1e16
"""Range of the numbers that Python formats without an exponent."""

_MAX_CACHED_LENGTH: Final = 64
_MAX_NEW_KEYS: Final = 1_000
_MAX_CACHED_KEYS: Final = 10_000
_plain_keys: set[str] = set()
"""Recently seen keys that need no escape, which are nearly all keys of a program's calls."""
_odd_keys: set[str] = set()
"""Recently seen keys that need an escape, such as those of the attributes of spans."""


@dataclass(slots=True)
class JsonTraits:
    """Traits of a JSON value.

    `separators` is the number of spaces after commas and colons in Python's default format. `has_odd_keys` is True if
    the value is an object with a key that BSON cannot hold. `needs_conversion` is True if BSON cannot hold a number, a
    level or an inner key. `has_exponents` is True if number formats may differ between orjson and Python.
    """

    separators: int = 0
    has_odd_keys: bool = False
    needs_conversion: bool = False
    has_exponents: bool = False

    def default_length(self, value: object, text: str) -> int:
        """Compute the length of the value in Python's default format (`", "`, `": "`, ASCII) from its compact text."""
        if self.has_exponents:
            return len(codec.canonical(value))
        if text.isascii() and "\x7f" not in text:
            return len(text) + self.separators
        # Each UTF-16 unit outside of printable ASCII takes six characters, as in \u00e9.
        units = len(text.encode("utf-16-le")) // 2
        unescaped = len(text.encode("ascii", "ignore")) - text.count("\x7f")
        return unescaped + 6 * (units - unescaped) + self.separators


def traits_of(value: object) -> JsonTraits:
    """Return the traits of a value made of dicts, lists, strings, numbers, booleans and None."""
    separators = 0
    needs_conversion = has_exponents = False
    odd: list[Any] = []  # objects with a key that BSON cannot hold, outer ones first
    are_plain, (least, most) = _plain_keys.issuperset, _WITHOUT_EXPONENT
    containers: list[Any] = [value if isinstance(value, dict | list) else (value,)]
    add = containers.append
    # One loop without calls, because every written value passes it; it appends what it traverses next.
    for container in containers:
        if type(container) is dict:
            separators += 2 * len(container) - 1 if container else 0
            members = container.values()
            if not (are_plain(container) or _are_plain(container)):
                odd.append(container)
        else:
            separators += len(container) - 1 if container else 0
            members = container
        for member in members:
            kind = type(member)
            if kind is str:
                continue
            if kind is dict or kind is list:
                add(member)
            elif kind is int:
                needs_conversion = needs_conversion or not -INT64 <= member < INT64
            elif kind is float and not least <= abs(member) < most and member:
                has_exponents = True
    has_odd_keys = bool(odd) and odd[0] is value
    needs_conversion = needs_conversion or len(odd) > has_odd_keys
    if len(containers) > MAX_DEPTH:  # fewer cannot be nested too deep
        needs_conversion = needs_conversion or _is_too_deep(containers[0])
    return JsonTraits(separators, has_odd_keys, needs_conversion, has_exponents)


def _is_too_deep(value: dict[str, Any] | list[Any]) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        members = (container.values() if type(container) is dict else container for container in level)
        level = [member for each in members for member in each if type(member) is dict or type(member) is list]
        if not level:
            return False
    return True


def _are_plain(keys: dict[str, Any]) -> bool:
    if not _odd_keys.isdisjoint(keys):
        return False
    odd_key = next(filter(ODD_KEY.search, keys), None)
    if odd_key is not None:
        _cache(_odd_keys, [odd_key])
    elif len(keys) <= _MAX_NEW_KEYS:
        _cache(_plain_keys, keys)
    return odd_key is None


def _cache(known: set[str], keys: Iterable[str]) -> None:
    if len(known) > _MAX_CACHED_KEYS:
        known.clear()
    known.update(key for key in keys if len(key) <= _MAX_CACHED_LENGTH)


def to_bson(value: object, traits: JsonTraits | None = None) -> object:
    """Convert a value for MongoDB: keys escaped, integers beyond int64 as doubles, levels that are too deep as null.

    Nearly all values need no conversion and are returned uncopied. If only the outermost keys need an escape, the
    members are uncopied. Pass `traits` if they are known already.
    """
    if isinstance(value, dict | list):
        traits = traits or traits_of(value)
        if not traits.needs_conversion:
            if isinstance(value, dict) and traits.has_odd_keys:
                # The payload of a span has the key of its attribute, such as `gen_ai.input.messages`.
                return {escape_key(key): inner for key, inner in value.items()}
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
