"""Traversal of the strings in decoded JSON, with or without their locations."""

from collections.abc import Iterator
from typing import NamedTuple, Optional

from stores.json import codec


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


def iter_texts(value: object) -> Iterator[tuple[Location, bool, str]]:
    """Yield all texts in document order: location, True for the key at that location, text.

    Numbers, booleans and null count as texts, too.
    """
    stack: list[tuple[Location, bool, object]] = [(Location(), False, value)]
    while stack:
        location, is_key, value_or_key = stack.pop()
        match value_or_key:
            case str():
                yield location, is_key, value_or_key
            case dict():
                for key, inner in reversed(value_or_key.items()):
                    inner_location = Location(key, location)
                    stack += [(inner_location, False, inner), (inner_location, True, key)]
            case list():
                stack += [
                    (Location(str(at), location), False, value_or_key[at])
                    for at in range(len(value_or_key) - 1, -1, -1)
                ]
            case _:
                yield location, False, codec.encode(value_or_key)
