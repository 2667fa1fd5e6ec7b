"""Scans: lists and counts whose arguments have a condition or a sort without an index."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from graphql import (
    FieldNode,
    ListValueNode,
    ObjectValueNode,
    ValueNode,
    VariableNode,
)
from strawberry.utils.str_converters import to_snake_case

from stores.errors import BadInputError
from stores.query import Query
from stores.query.index_use import UNINDEXED_FILTERS, IndexedFields
from stores.query.sort import SortBy

_LITERAL: Final = "literal"


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """1 if a field scans for given values of its variables, and 0 otherwise."""

    indexed: IndexedFields
    arguments: tuple[tuple[str, ValueNode], ...]

    def read(self, values: Mapping[str, Any]) -> int:
        """Return the number of scans for these coerced values of the variables."""
        return int(any(_READERS[name](self.indexed, _plain(value, values)) for name, value in self.arguments))


def scan(node: FieldNode, indexed: IndexedFields) -> int | Scan:
    """Return the number of scans that a field's arguments cause: 0, 1, or a function of the variables."""
    arguments = tuple((each.name.value, each.value) for each in node.arguments or () if each.name.value in _READERS)
    found = Scan(indexed, arguments)
    return found if any(_varies(value) for _name, value in arguments) else found.read({})


def _varies(node: ValueNode) -> bool:
    """Return True if a variable decides more than the literals of a condition; a literal is never null."""
    match node:
        case VariableNode():
            return True
        case ListValueNode():
            return any(map(_varies, node.values))
        case ObjectValueNode():
            return any(_varies(member.value) for member in node.fields if member.name.value != _LITERAL)
        case _:
            return False


def _plain(node: ValueNode, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- any input
    """Return the value of an argument: JSON from the document, and inputs from variables."""
    match node:
        case VariableNode():
            return values.get(node.name.value)
        case ListValueNode():
            return [_plain(each, values) for each in node.values]
        case ObjectValueNode():
            # The value of a literal does not affect the need for a scan.
            return {
                member.name.value: True if member.name.value == _LITERAL else _plain(member.value, values)
                for member in node.fields
            }
        case _:
            return getattr(node, "value", None)


def _query_needs_scan(indexed: IndexedFields, value: Any) -> bool:  # noqa: ANN401 -- any input
    if value is None:
        return False
    if isinstance(value, dict):
        query = Query(value["json"]) if "json" in value else Query(value.get("expr"), typed=True)
    else:
        try:
            query = value.to_store()
        except BadInputError:
            return False  # the field rejects it
    return indexed.query_needs_scan(query)


def _sort_needs_scan(indexed: IndexedFields, value: Any) -> bool:  # noqa: ANN401 -- any input
    keys = value if isinstance(value, list) else [value] if value is not None else []
    return indexed.sort_needs_scan([SortBy(_of(key, "field"), _is_descending(_of(key, "direction"))) for key in keys])


def _is_descending(direction: object) -> bool:
    return (direction.name if isinstance(direction, Enum) else direction) == "DESC"


def _filter_needs_scan(_indexed: IndexedFields, value: Any) -> bool:  # noqa: ANN401 -- any input
    if isinstance(value, dict):
        value = {to_snake_case(name): each for name, each in value.items()}
    return any(_of(value, name) for name in UNINDEXED_FILTERS)


def _of(value: Any, name: str) -> Any:  # noqa: ANN401 -- any input
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


_READERS: Final[Mapping[str, Callable[[IndexedFields, Any], bool]]] = {
    "query": _query_needs_scan,
    "sortBy": _sort_needs_scan,
    "filter": _filter_needs_scan,
}
