"""Costed fields of an operation as a tree; requested sizes and scans are evaluated when the variables are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from graphql import FieldNode, IntValueNode, ListValueNode, NullValueNode, ObjectValueNode, ValueNode, VariableNode
from strawberry.utils.str_converters import to_snake_case

from stores.errors import BadInputError
from stores.query import Query
from stores.query.index_use import UNINDEXED_FILTERS, IndexedFields
from stores.query.sort import SortBy

_LITERAL: Final = "literal"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, and the attribute path from its value to the counted part."""

    name: str
    path: tuple[str, ...] = ()

    def read(self, values: Mapping[str, Any]) -> object:
        """Return the value at the path; None if it is missing."""
        found = values.get(self.name)
        for step in self.path:
            found = getattr(found, step, None)
        return found


@dataclass(frozen=True, slots=True)
class RequestedSize:
    """A size that a client chooses: the first source with a value, within its bounds.

    The number of `ids` bounds it, unless that list is null or empty and so sets no condition.
    """

    sources: tuple[int | Variable, ...]
    default: int
    max_size: int
    ids: int | Variable | None = None

    def read(self, values: Mapping[str, Any]) -> int:
        """Return the size for these values of the variables."""
        found = next((number for each in self.sources if (number := _read(each, values)) is not None), None)
        number = self.default if found is None else min(max(found, 0), self.max_size)
        ids = _read(self.ids, values) if self.ids is not None else None
        return min(number, ids) if ids else number


def _read(source: int | Variable, values: Mapping[str, Any]) -> int | None:
    return source if isinstance(source, int) else _number(source.read(values))


def _number(value: object) -> int | None:
    if isinstance(value, list):
        return len(value)
    return value if isinstance(value, int) else None


def requested_size(
    node: FieldNode, arguments: Sequence[str], default: int, max_size: int, ids: str | None = None
) -> int | RequestedSize:
    """Return the size that arguments of a field request, each named by a dotted path into its fields.

    `ids` names the argument whose ids bound it.
    """
    found = [_source(node, *argument.split(".")) for argument in arguments]
    bound = _source(node, *ids.split(".")) if ids else None
    size = RequestedSize(tuple(source for source in found if source is not None), default, max_size, bound)
    return size if any(isinstance(source, Variable) for source in (*size.sources, bound)) else size.read({})


def _source(node: FieldNode, name: str, *path: str) -> int | Variable | None:
    for argument in node.arguments or ():
        if argument.name.value == name:
            return _literal(argument.value, path)
    return None


def _literal(value: ValueNode, path: Sequence[str]) -> int | Variable | None:
    if isinstance(value, VariableNode):
        return Variable(value.name.value, tuple(to_snake_case(step) for step in path))
    if path:
        members = value.fields if isinstance(value, ObjectValueNode) else ()
        found = [member.value for member in members if member.name.value == path[0]]
        return _literal(found[0], path[1:]) if found else None
    match value:
        case NullValueNode():
            return None
        case IntValueNode():
            return int(value.value)
        case ListValueNode():
            return len(value.values)
        case _:
            return 1  # a single value for a list argument is a list of one


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


Size = int | RequestedSize | Scan


@dataclass(frozen=True, slots=True)
class CostedField:
    """A field of the response under its response name: `size` times its own cost and the cost of its selection.

    `is_list` distinguishes a list of one from an object. `is_size_chosen` marks a list whose size the client chooses,
    and `is_size_inherited` one whose size an argument of its parent field states. `is_scan` marks the cost of scans,
    which is `own`.
    """

    name: str
    size: Size
    own: int
    work: int
    below: "Selection | None" = None
    is_list: bool = False
    is_size_chosen: bool = False
    is_size_inherited: bool = False
    is_scan: bool = False

    def total(self, values: Mapping[str, Any], known: "Known") -> int:
        """Return the number of objects of the field for these values of the variables."""
        each = self.own + (self.below.count(values, known) if self.below else 0)
        return self.times(values) * each if each else 0

    def times(self, values: Mapping[str, Any]) -> int:
        """Return its size for these values of the variables."""
        return self.size if isinstance(self.size, int) else self.size.read(values)


Known = dict[int, int]
"""Counts of selections by their ids, for one set of values."""


class Selection:
    """The selection on one object, for each of its possible types.

    `work` is the database cost of all its fields, and `constant` its number of objects if no variable affects it.
    `scans` is True if it may have scans.
    """

    __slots__ = ("constant", "kinds", "scans", "work")

    def __init__(self, kinds: tuple[tuple[CostedField, ...], ...]) -> None:
        self.kinds = kinds
        self.work: int
        self.scans: bool
        fields = [field for kind in kinds for field in kind]
        self.work = sum(field.work + (field.below.work if field.below else 0) for field in fields)
        self.scans = any(field.is_scan or (field.below is not None and field.below.scans) for field in fields)
        is_constant = all(
            isinstance(field.size, int) and (not field.below or field.below.constant is not None) for field in fields
        )
        self.constant: int | None = None
        self.constant = self.count({}, {}) if is_constant else None

    def count(self, values: Mapping[str, Any], known: Known) -> int:
        """Return the number of objects of one such selection; each selection is counted once, though many share it."""
        if self.constant is not None:
            return self.constant
        found = known.get(id(self))
        if found is None:
            found = max((sum(field.total(values, known) for field in kind) for kind in self.kinds), default=0)
            known[id(self)] = found
        return found

    def cost(self, values: Mapping[str, Any]) -> int:
        """Return the cost of a root selection: objects plus database work."""
        return self.work + self.count(values, {})
