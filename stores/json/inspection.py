"""Traits of a JSON value, found in one traversal: text length and compatibility with BSON."""

import re
from dataclasses import dataclass
from typing import Any, Final

from stores.json import codec

MAX_DEPTH: Final = 100
"""Maximum levels of a BSON copy. MongoDB refuses documents of 180 levels, and a copy lies inside a document."""

INT64: Final = 1 << 63
ODD_KEY: Final = re.compile(r"[.%\0]|\A\$")
"""A key that MongoDB would misread, or that contains the escape sign."""

_MAX_CACHED_LENGTH: Final = 64
_MAX_NEW_KEYS: Final = 1_000
_MAX_CACHED_KEYS: Final = 10_000
_plain_keys: set[str] = set()
"""Recently seen keys that need no escape, which are nearly all keys of a program's calls."""


@dataclass(slots=True)
class JsonTraits:
    """Traits of a JSON value.

    `separators` is the number of spaces after commas and colons in Python's default format. `needs_conversion` is True
    if BSON cannot hold the value unchanged. `has_exponents` is True if number formats may differ between orjson and
    Python.
    """

    separators: int = 0
    needs_conversion: bool = False
    has_exponents: bool = False

    def default_length(self, value: object, text: str) -> int:
        """Compute `codec.default_length(value)` from the value's compact JSON text."""
        if self.has_exponents:
            return codec.default_length(value)
        if text.isascii() and "\x7f" not in text:
            return len(text) + self.separators
        # Each UTF-16 unit outside of printable ASCII takes six characters, as in \u00e9.
        units = len(text.encode("utf-16-le")) // 2
        unescaped = len(text.encode("ascii", "ignore")) - text.count("\x7f")
        return unescaped + 6 * (units - unescaped) + self.separators


def traits_of(value: object) -> JsonTraits:
    """Return the traits of a value made of dicts, lists, strings, numbers, booleans and None."""
    separators, depth, needs_conversion, has_exponents = 0, 0, False, False
    level: list[Any] = [(value,)]
    while level:
        needs_conversion = needs_conversion or depth > MAX_DEPTH
        depth += 1
        inner: list[Any] = []
        # One loop without calls, because every written value passes it.
        for container in level:
            members = container
            if type(container) is dict:
                members = container.values()
                separators += len(container)
                needs_conversion = needs_conversion or not (_plain_keys.issuperset(container) or _are_plain(container))
            separators += len(container) - 1 if container else 0
            for member in members:
                kind = type(member)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    inner.append(member)
                elif kind is int:
                    needs_conversion = needs_conversion or not -INT64 <= member < INT64
                elif kind is float and not 1e-4 <= abs(member) < 1e16 and member:  # noqa: PLR2004 -- where Python's exponents begin
                    has_exponents = True
        level = inner
    return JsonTraits(separators, needs_conversion, has_exponents)


def _are_plain(keys: dict[str, Any]) -> bool:
    if any(map(ODD_KEY.search, keys)):
        return False
    if len(keys) <= _MAX_NEW_KEYS:
        if len(_plain_keys) > _MAX_CACHED_KEYS:
            _plain_keys.clear()
        _plain_keys.update(key for key in keys if len(key) <= _MAX_CACHED_LENGTH)
    return True
