"""Limits of stored JSON: every value within them can be read again."""

from collections.abc import Iterator
from typing import Final, NamedTuple, Optional

from stores.errors import BadInputError
from stores.json import paths

MAX_DEPTH: Final = 1024
"""Maximum levels of nesting, which is also what orjson can parse."""

MAX_DIGITS: Final = 308
"""Maximum digits of an integer; larger ones exceed a double's range, which orjson does not parse."""

_TOO_LARGE: Final = 10**MAX_DIGITS
_MAX_PATH: Final = 200


class _Location(NamedTuple):
    """A value inside another one, `depth` levels down."""

    value: object
    key: str = ""
    depth: int = 0
    outer: Optional["_Location"] = None

    def inner(self) -> Iterator["_Location"]:
        if isinstance(self.value, dict):
            yield from (_Location(value, key, self.depth + 1, self) for key, value in self.value.items())
        elif isinstance(self.value, list):
            yield from (_Location(value, str(index), self.depth + 1, self) for index, value in enumerate(self.value))

    def __str__(self) -> str:
        keys, location = [], self
        while location.outer:
            keys.append(location.key)
            location = location.outer
        path = paths.join(reversed(keys))
        return path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}…"


def check(value: object) -> None:
    """Check a JSON value against the limits.

    Raises:
        BadInputError: if it nests too deeply or contains too long an integer; the message names the path.
    """
    stack = [_Location(value)]
    while stack:
        location = stack.pop()
        match location.value:
            case dict() | list() if location.depth >= MAX_DEPTH:
                raise BadInputError(
                    f"nests deeper than {MAX_DEPTH:,} levels at {location}; flatten it or send it as text"
                )
            case int(number) if abs(number) >= _TOO_LARGE:
                position = f" at {location}" if location.outer else ""
                raise BadInputError(
                    f"contains an integer of more than {MAX_DIGITS} digits{position}; send it as a string"
                )
        stack.extend(location.inner())
