"""Edges: the steps of a ref, each from a JSON value to one inside it."""

from typing import Final

from stores.errors import BadInputError
from stores.refs.grammar import SCHEME, is_ref

Edge = tuple[str, str]
"""The name of an edge, and its value."""

_LONGEST_INDEX: Final = 12


def follow(value: object, edges: tuple[Edge, ...]) -> tuple[object, tuple[Edge, ...]]:
    """What lies at the end of the edges, or the ref on the way that leads elsewhere, with the edges that are left.

    What is not there is None, and so is all beyond it.

    Raises:
        BadInputError: an edge cannot lead into what is there.
    """
    for at, edge in enumerate(edges):
        if isinstance(value, str) and value.startswith(SCHEME) and is_ref(value):
            return value, edges[at:]
        value = _step(value, *edge)
    return value, ()


def _step(value: object, edge: str, name: str) -> object:
    match value, edge:
        case None, _:
            return None
        case dict(), "key" | "attr":
            return value.get(name)
        case dict(), "index":
            raise BadInputError(f"index/{name[:64]} leads into a list, and there is an object; use key or attr")
        case list(), "index":
            return _member(value, name)
        case _, "id":
            raise BadInputError(f"id/{name[:64]} leads into a table, and there is none")
        case _:
            return None


def _member(members: list[object], index: str) -> object:
    """The member at an index, a negative one from the end; None beyond either end."""
    at = int(index) if len(index) <= _LONGEST_INDEX else len(members)
    return members[at] if -len(members) <= at < len(members) else None
