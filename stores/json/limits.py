"""The bounds of the JSON that is kept: whatever is written within them can be read again."""

from collections.abc import Iterator
from typing import Final, NamedTuple, Optional

from stores.errors import BadInputError
from stores.json import paths

MAX_DEPTH: Final = 1024
"""Levels of nesting; it is orjson's own bound."""

MAX_DIGITS: Final = 308
"""Digits of an integer: every one of so many lies within a double's range, beyond which orjson reads no number."""

_BEYOND: Final = 10**MAX_DIGITS
_SHOWN: Final = 200


class _Place(NamedTuple):
    """A value inside another, `depth` levels down."""

    value: object
    key: str = ""
    depth: int = 0
    outer: Optional["_Place"] = None

    def inner(self) -> Iterator["_Place"]:
        if isinstance(self.value, dict):
            yield from (_Place(value, key, self.depth + 1, self) for key, value in self.value.items())
        elif isinstance(self.value, list):
            yield from (_Place(value, str(index), self.depth + 1, self) for index, value in enumerate(self.value))

    def __str__(self) -> str:
        keys, place = [], self
        while place.outer:
            keys.append(place.key)
            place = place.outer
        path = paths.join(reversed(keys))
        return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"


def check(value: object) -> None:
    """Hold a JSON value to the bounds.

    Raises:
        BadInputError: it nests too deeply or holds too long an integer; the message says where.
    """
    waiting = [_Place(value)]
    while waiting:
        place = waiting.pop()
        match place.value:
            case dict() | list() if place.depth >= MAX_DEPTH:
                raise BadInputError(f"nests deeper than {MAX_DEPTH:,} levels at {place}; flatten it or send it as text")
            case int(number) if abs(number) >= _BEYOND:
                where = f" at {place}" if place.outer else ""
                raise BadInputError(f"holds an integer of more than {MAX_DIGITS} digits{where}; send it as a string")
        waiting.extend(place.inner())
