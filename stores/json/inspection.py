"""What can be told of a JSON value by one walk through it: its size as Python writes it, and whether BSON takes it."""

import re
from dataclasses import dataclass
from typing import Any, Final

from stores.json import codec

MAX_DEPTH: Final = 100
"""Levels of a mirror; mongod refuses documents of 180, and a mirror stands inside one."""

INT64: Final = 1 << 63
ODD_KEY: Final = re.compile(r"[.%\0]|\A\$")
"""A key that MongoDB would read as more than a key, or the sign that such keys are escaped with."""

_LONGEST_KEPT: Final = 64
_MOST_AT_ONCE: Final = 1_000
_MOST_KEPT: Final = 10_000
_plain_keys: set[str] = set()
"""Keys that were seen before and are not odd: nearly all keys of a program's calls are."""


@dataclass(slots=True)
class JsonTraits:
    """The separators of a value's members; whether BSON bends it, and whether its numbers have several spellings."""

    separators: int = 0
    is_odd: bool = False
    has_exponents: bool = False

    def default_length(self, value: object, text: str) -> int:
        """The length of a value's JSON as Python writes it by default (`", "`, `": "`, ASCII), from its own text."""
        if self.has_exponents:
            return codec.default_length(value)
        if text.isascii() and "\x7f" not in text:
            return len(text) + self.separators
        # Each unit of UTF-16 that is not printed as it is takes six characters, as in \u00e9.
        units = len(text.encode("utf-16-le")) // 2
        plain = len(text.encode("ascii", "ignore")) - text.count("\x7f")
        return plain + 6 * (units - plain) + self.separators


def shape_of(value: object) -> JsonTraits:
    """The shape of a value made of dicts, lists, strings, numbers, booleans and None."""
    separators, depth, is_odd, has_exponents = 0, 0, False, False
    level: list[Any] = [(value,)]
    while level:
        is_odd = is_odd or depth > MAX_DEPTH
        depth += 1
        inner: list[Any] = []
        # All of it in one loop: this is done to everything that is written.
        for container in level:
            members = container
            if type(container) is dict:
                members = container.values()
                separators += len(container)
                is_odd = is_odd or not (_plain_keys.issuperset(container) or _are_plain(container))
            separators += len(container) - 1 if container else 0
            for member in members:
                kind = type(member)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    inner.append(member)
                elif kind is int:
                    is_odd = is_odd or not -INT64 <= member < INT64
                elif kind is float and not 1e-4 <= abs(member) < 1e16 and member:  # noqa: PLR2004 -- where Python's exponents begin
                    has_exponents = True
        level = inner
    return JsonTraits(separators, is_odd, has_exponents)


def _are_plain(keys: dict[str, Any]) -> bool:
    if any(map(ODD_KEY.search, keys)):
        return False
    if len(keys) <= _MOST_AT_ONCE:
        if len(_plain_keys) > _MOST_KEPT:
            _plain_keys.clear()
        _plain_keys.update(key for key in keys if len(key) <= _LONGEST_KEPT)
    return True
