"""Ref steps: each leads from a JSON value to a value inside it."""

from typing import Final

from stores.errors import BadInputError
from stores.refs.grammar import SCHEME, is_ref

Step = tuple[str, str]
"""A step's name and value."""

_MAX_INDEX_LENGTH: Final = 12


def follow(value: object, steps: tuple[Step, ...]) -> tuple[object, tuple[Step, ...]]:
    """Follow the steps; return the final value, or the first ref on the path with the remaining steps.

    Missing values are None, and so is everything inside them.

    Raises:
        BadInputError: if a step does not apply to the value.
    """
    for at, step in enumerate(steps):
        if isinstance(value, str) and value.startswith(SCHEME) and is_ref(value):
            return value, steps[at:]
        value = _step(value, *step)
    return value, ()


def _step(value: object, step: str, name: str) -> object:
    match value, step:
        case None, _:
            return None
        case dict(), "key" | "attr":
            return value.get(name)
        case dict(), "index":
            raise BadInputError(f"index/{name[:64]} applies to lists, but the value is an object; use key or attr")
        case list(), "index":
            return _member(value, name)
        case _, "id":
            raise BadInputError(f"id/{name[:64]} applies to tables, but the value is not a table")
        case _:
            return None


def _member(members: list[object], index: str) -> object:
    """Return the member at an index, negative ones from the end; None beyond either end."""
    at = int(index) if len(index) <= _MAX_INDEX_LENGTH else len(members)
    return members[at] if -len(members) <= at < len(members) else None
