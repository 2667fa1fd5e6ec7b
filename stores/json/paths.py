"""Paths, traversal and limits of decoded JSON: every value within the limits can be read again.

Dotted paths have the form `messages.0.content`, with a backslash before a dot inside a key.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Optional

from stores.errors import BadInputError
from stores.json import AnyJson

_INDEX: Final = re.compile(r"[0-9]{1,9}")
_STEP: Final = re.compile(r"((?:[^.\\]|\\.|\\$)*)(\.|$)", re.DOTALL)


def split(path: str) -> list[str]:
    r"""Split a dotted path into its keys and unescape `\.` and `\\`; the empty path has no keys.

    Raises:
        BadInputError: if a key is empty, as in `a..b` or with a dot at either end.
    """
    if not path:
        return []
    if "\\" not in path and all(steps := path.split(".")):
        return steps
    steps, at = [], 0
    while at <= len(path):
        match = _STEP.match(path, at)
        if match is None or not match[1]:
            raise BadInputError(rf"{path[:200]!r} has an empty key; write a dot inside a key as \.")
        steps.append(re.sub(r"\\([.\\])", r"\1", match[1]))
        if not match[2]:
            break
        at = match.end()
    return steps


def join(steps: Iterable[str]) -> str:
    """Join keys to a dotted path, the inverse of `split`."""
    return ".".join(re.sub(r"([.\\])", r"\\\1", step) for step in steps)


def follow(value: object, steps: list[str]) -> object:
    """Return the value at the path, or None if there is none.

    A step of digits is a list index or an object key, depending on the value.
    """
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def iter_strings(value: object, *, with_keys: bool = False) -> Iterator[str]:
    """Yield all strings in document order; with `with_keys`, an object's keys come before its values."""
    stack = [value]
    while stack:
        match stack.pop():
            case str() as text:
                yield text
            case dict() as members:
                if with_keys:
                    yield from members
                stack.extend(reversed(members.values()))
            case list() as entries:
                stack.extend(reversed(entries))


class Location(NamedTuple):
    """A location in JSON: the last key or index and the enclosing location; the root has neither."""

    key: str = ""
    outer: Optional["Location"] = None

    def steps(self) -> list[str]:
        """Return the keys and indexes from the root to this location."""
        steps: list[str] = []
        location = self
        while location.outer is not None:
            steps.append(location.key)
            location = location.outer
        return steps[::-1]

    def members(self, value: object) -> Iterator[tuple["Location", AnyJson]]:
        """Yield the locations and values of the members of the list or object at this location."""
        if isinstance(value, dict):
            yield from ((Location(key, self), member) for key, member in value.items())
        elif isinstance(value, list):
            yield from ((Location(str(index), self), member) for index, member in enumerate(value))

    def __str__(self) -> str:
        path = join(self.steps())
        return path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}…"


MAX_DEPTH: Final = 1024
"""Maximum levels of nesting, which is also what orjson can parse."""

MAX_DIGITS: Final = 308
"""Maximum digits of an integer; larger ones exceed a double's range, which orjson does not parse."""

_TOO_LARGE: Final = 10**MAX_DIGITS
_MAX_PATH: Final = 200


def check_limits(value: object) -> None:
    """Check a JSON value against the limits.

    Raises:
        BadInputError: if it nests too deeply or contains too long an integer; the message names the path.
    """
    stack = [(Location(), 0, value)]
    while stack:
        location, depth, each = stack.pop()
        if isinstance(each, dict | list) and depth >= MAX_DEPTH:
            raise BadInputError(f"nests deeper than {MAX_DEPTH:,} levels at {location}; flatten it or send it as text")
        if isinstance(each, int) and abs(each) >= _TOO_LARGE:
            position = f" at {location}" if location.outer else ""
            raise BadInputError(f"contains an integer of more than {MAX_DIGITS} digits{position}; send it as a string")
        stack += [(inner, depth + 1, member) for inner, member in location.members(each)]
