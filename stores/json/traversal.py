"""The strings in decoded JSON, wherever they stand: by themselves, or all texts with their places."""

from collections.abc import Iterator
from typing import NamedTuple, Optional

from stores.json import codec


def iter_strings(value: object, *, with_keys: bool = False) -> Iterator[str]:
    """All of them in the order in which they stand, with the keys of an object before its values or without."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as members:
                if with_keys:
                    yield from members
                waiting.extend(reversed(members.values()))
            case list() as entries:
                waiting.extend(reversed(entries))


class Location(NamedTuple):
    """A place: the last key or index on the way there, and the place before it; the whole has neither."""

    key: str = ""
    outer: Optional["Location"] = None

    def steps(self) -> list[str]:
        """The keys and indexes that lead there."""
        found: list[str] = []
        place = self
        while place.outer is not None:
            found.append(place.key)
            place = place.outer
        return found[::-1]


def iter_texts(value: object) -> Iterator[tuple[Location, bool, str]]:
    """All texts in their order, each with its place, and whether it is the key at the end of that.

    What is written without quotes is a text, too.
    """
    waiting: list[tuple[Location, bool, object]] = [(Location(), False, value)]
    while waiting:
        place, is_key, found = waiting.pop()
        match found:
            case str():
                yield place, is_key, found
            case dict():
                for key, inner in reversed(found.items()):
                    there = Location(key, place)
                    waiting += [(there, False, inner), (there, True, key)]
            case list():
                waiting += [(Location(str(at), place), False, found[at]) for at in range(len(found) - 1, -1, -1)]
            case _:
                yield place, False, codec.encode(found)
