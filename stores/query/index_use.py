"""Which conditions and sorts an index serves, told by the names of their fields alone, before the database is asked."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

from stores.errors import BadInputError
from stores.indexes import INDEXES, Keys
from stores.paging import PageRequest
from stores.query import Query
from stores.query.expressions import Comparison
from stores.query.fields import FieldTable, Kind
from stores.query.parser import MAX_DEPTH, MAX_NODES, SIGIL
from stores.query.sort import SortBy

UNINDEXED_FILTERS: Final = ("wb_user_ids", "models", "leaf_object_classes", "exclude_base_object_classes")
"""The members of filters that no index leads to."""

_SCOPE: Final = ("project_id", "visible")
_UNIQUE: Final = ("id", 1)
_PLAIN: Final = frozenset({str, int, set, frozenset, PageRequest})
"""Arguments that say nothing of which documents are read."""

_COMPARISONS: Final = frozenset(comparison.value for comparison in Comparison)


class IndexedFields:
    """The fields of a collection that its own indexes serve; those that operators add are not among them.

    A condition needs no scan if it compares such a field with a literal, or combines such comparisons by `and`. A sort
    needs none if an index has its keys in their order. All else may read every document of a project.

    Args:
        table: the collection's fields, as clients name them.
        collection: its name in `stores.indexes`; one without indexes serves nothing.
    """

    def __init__(self, table: FieldTable, collection: str) -> None:
        indexes = [index for index in INDEXES if index.collection == collection and index.keys[0][0] == "project_id"]
        keys = {index.name: _behind_scope(index.keys) for index in indexes}
        self._table = table
        self._leading = {found[0][0] for found in keys.values() if found}
        self._orders = [keys[index.name] for index in indexes if not index.only]

    def needs_scan(self, *arguments: object) -> bool:
        """True if no index serves a query, a sort or a filter among the arguments of a store's method."""
        return any(self._argument_needs_scan(each) for each in arguments if each and type(each) not in _PLAIN)

    def _argument_needs_scan(self, argument: object) -> bool:
        match argument:
            case Query():
                return self.query_needs_scan(argument)
            case [SortBy(), *_]:
                return self.sort_needs_scan(cast("Sequence[SortBy]", argument))
            case _:
                return any(getattr(argument, name, None) for name in UNINDEXED_FILTERS)

    def query_needs_scan(self, query: Query) -> bool:
        """True if no index serves a condition of a query, or it is none that the stores take."""
        tree = query.tree
        if not query.typed:
            tree = tree.get(f"{SIGIL}expr") if isinstance(tree, dict) else None
        return not self._is_served(tree, 0, iter(range(MAX_NODES)))

    def sort_needs_scan(self, sort_by: Sequence[SortBy]) -> bool:
        """True if no index has the keys of a sort in their order."""
        wanted: Keys = []
        for key in sort_by:
            try:
                field = self._table[key.field].field
            except BadInputError:
                return True
            # Nulls come last: where they may be, an ascending sort has a computed key.
            if field.kind is Kind.JSON or (field.optional and not key.descending):
                return True
            wanted.append((field.path, -1 if key.descending else 1))
        if _UNIQUE[0] not in dict(wanted):
            wanted.append(_UNIQUE)
        backward = [(path, -order) for path, order in wanted]
        return bool(sort_by) and not any(keys[: len(wanted)] in (wanted, backward) for keys in self._orders)

    def _is_served(self, tree: object, depth: int, left: Iterator[int]) -> bool:
        """True if an index serves an operation, of which no more nodes are looked at than there are `left`."""
        if not isinstance(tree, dict) or len(tree) != 1 or depth > MAX_DEPTH or next(left, None) is None:
            return False
        [(spelled, operands)] = tree.items()
        name = spelled.removeprefix(SIGIL)
        if name == "and":
            return isinstance(operands, list) and all(self._is_served(each, depth + 1, left) for each in operands)
        if name in _COMPARISONS and isinstance(operands, list) and len(operands) == 2:  # noqa: PLR2004 -- two sides
            left_side, right_side = operands
            if self._is_field(left_side) and _is_literal(right_side):
                return True
            # No index leads to the values that a literal starts with.
            is_flippable = name != Comparison.STARTS_WITH
            return is_flippable and self._is_field(right_side) and _is_literal(left_side)
        return name == "in" and self._is_membership(operands, left)

    def _is_membership(self, operands: object, left: Iterator[int]) -> bool:
        """True if the operands of an `in` are a field that has an index, and literals."""
        match operands:
            case [of, list(values)] | {"input": of, "values": list(values)}:
                return self._is_field(of) and all(next(left, None) is not None and _is_literal(each) for each in values)
            case _:
                return False

    def _is_field(self, operand: object) -> bool:
        name = _only(operand, "getField")
        if not isinstance(name, str):
            return False
        try:
            field = self._table[name].field
        except BadInputError:
            return False
        return field.kind is not Kind.JSON and field.path in self._leading


def _behind_scope(keys: Iterable[tuple[str, int]]) -> Keys:
    return [(path, order) for path, order in keys if path not in _SCOPE]


def _is_literal(operand: object) -> bool:
    """True of a literal other than null, for which an index may have no entry."""
    return _only(operand, "literal") is not None


def _only(operand: object, name: str) -> Any:  # noqa: ANN401 -- any JSON
    """The value of an operand's one member, if that has this name."""
    if not isinstance(operand, dict) or len(operand) != 1:
        return None
    return operand.get(name, operand.get(f"{SIGIL}{name}"))
