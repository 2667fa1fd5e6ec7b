"""The strings in decoded JSON, wherever they stand."""

from collections.abc import Iterator


def strings_in(value: object, *, with_keys: bool = False) -> Iterator[str]:
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
