"""Prediction of which filters and sorts an index serves, from their field names alone and without asking MongoDB."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, cast

from stores.database.indexes import INDEXES, Keys
from stores.errors import BadInputError
from stores.json import AnyJson
from stores.paging import PageRequest
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.parser import MAX_DEPTH, MAX_NODES, SIGIL
from stores.query.sort import SortBy
from stores.query.syntax_tree import Comparison

UNINDEXED_FILTERS: Final = ("wb_user_ids", "models", "leaf_object_classes", "exclude_base_object_classes")
"""Members of filters that no index serves."""

_SCOPE: Final = ("project_id", "visible")
_UNIQUE: Final = ("id", 1)
_PLAIN: Final = frozenset({str, int, set, frozenset, PageRequest})
"""Types of arguments that do not affect which documents are read."""

_COMPARISONS: Final = frozenset(comparison.value for comparison in Comparison)


class IndexedFields:
    """The fields of a collection that its built-in indexes serve; indexes that operators add do not count.

    A condition needs no scan if it compares indexed fields with literals, joined by `and`, and one of these holds: one
    index covers all comparisons, or one comparison names values that few documents have. A sort needs no scan if an
    index has its keys in their order. Everything else may read every document of a project.

    Args:
        table: the collection's fields, as clients name them.
        collection: its name in `stores.database.indexes`; a collection without indexes serves nothing.
    """

    def __init__(self, table: FieldTable, collection: str) -> None:
        indexes = [index for index in INDEXES if index.collection == collection and index.keys[0][0] == "project_id"]
        keys = {index.name: _after_scope(index.keys) for index in indexes}
        self.table = table
        self._leading = {index_keys[0][0] for index_keys in keys.values() if index_keys}
        self._paths = [([path for path, _order in keys[index.name]], index.only.keys()) for index in indexes]
        self._orders = [keys[index.name] for index in indexes if not index.only]

    def needs_scan(self, *arguments: object) -> bool:
        """Return True if no index serves a query, sort or filter among the arguments of a store method."""
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
        """Return True if no index serves some condition of the query, or if the query is invalid."""
        tree = query.tree
        if not query.typed:
            tree = tree.get(f"{SIGIL}expr") if isinstance(tree, dict) else None
        conditions = list(self._conditions(tree, 0, iter(range(MAX_NODES))))
        return None in conditions or not self._is_served([each for each in conditions if each])

    def sort_needs_scan(self, sort_by: Sequence[SortBy]) -> bool:
        """Return True if no index has the keys of a sort in their order."""
        wanted: Keys = []
        for key in sort_by:
            try:
                field = self.table[key.field].field
            except BadInputError:
                return True
            # Nulls sort last: an ascending sort of an optional field uses a computed key, which no index has.
            if field.kind is Kind.JSON or (field.optional and not key.descending):
                return True
            wanted.append((field.path, -1 if key.descending else 1))
        if _UNIQUE[0] not in dict(wanted):
            wanted.append(_UNIQUE)
        backward = [(path, -order) for path, order in wanted]
        return bool(sort_by) and not any(keys[: len(wanted)] in (wanted, backward) for keys in self._orders)

    def _is_served(self, conditions: Sequence["_Condition"]) -> bool:
        """Return True if one index covers all conditions, or if one condition is selective by itself."""
        if any(condition.is_selective for condition in conditions):
            return True
        named = {condition.field.path for condition in conditions if condition.names_values}
        ranges = {condition.field.path for condition in conditions} - named
        return any(
            # After the fields compared by equality, an index can serve one range.
            {*keys[: len(named)]} == named
            and ranges <= {*keys[len(named) : len(named) + 1]}
            and partial_paths <= named | ranges
            for keys, partial_paths in self._paths
        )

    def _conditions(self, tree: object, depth: int, budget: Iterator[int]) -> Iterator["_Condition | None"]:
        """Yield the conditions joined by `and`; None for one that no index serves, or once `budget` nodes are read."""
        if not isinstance(tree, dict) or len(tree) != 1 or depth > MAX_DEPTH or next(budget, None) is None:
            yield None
            return
        [(spelled_name, operands)] = tree.items()
        name = spelled_name.removeprefix(SIGIL)
        if name == "and" and operands and isinstance(operands, list):
            for each in operands:
                yield from self._conditions(each, depth + 1, budget)
        elif name in _COMPARISONS:
            yield self._comparison(Comparison(name), operands)
        else:
            yield self._membership(operands, budget) if name == "in" else None

    def _comparison(self, comparison: Comparison, operands: object) -> "_Condition | None":
        match operands:
            case [left, right]:
                # No index finds the values that are prefixes of a literal.
                flipped = right if _is_literal(left) and comparison is not Comparison.STARTS_WITH else None
                field_operand = left if _is_literal(right) else flipped
                return self._condition(field_operand, names_values=comparison is Comparison.EQ)
            case _:
                return None

    def _membership(self, operands: object, budget: Iterator[int]) -> "_Condition | None":
        """Return the condition of an `in` over an indexed field and literals; None for any other operands."""
        match operands:
            case [operand, list(values)] | {"input": operand, "values": list(values)}:
                are_literals = all(next(budget, None) is not None and _is_literal(each) for each in values)
                return self._condition(operand, names_values=True) if are_literals else None
            case _:
                return None

    def _condition(self, operand: object, *, names_values: bool) -> "_Condition | None":
        name = _sole_member(operand, "getField")
        if not isinstance(name, str):
            return None
        try:
            field = self.table[name].field
        except BadInputError:
            return None
        is_indexed = field.kind is not Kind.JSON and field.path in self._leading
        return _Condition(field, names_values) if is_indexed else None


class _Condition(NamedTuple):
    """A condition on one field: equal to one of some values (`names_values`), or within a range."""

    field: Field
    names_values: bool

    @property
    def is_selective(self) -> bool:
        """True if few documents match; many share each number, or each value of a low-cardinality text."""
        return self.names_values and self.field.kind is not Kind.NUMBER and not self.field.low_cardinality


def _after_scope(keys: Iterable[tuple[str, int]]) -> Keys:
    return [(path, order) for path, order in keys if path not in _SCOPE]


def _is_literal(operand: object) -> bool:
    """Return True for a literal other than null, for which an index may have no entry."""
    return _sole_member(operand, "literal") is not None


def _sole_member(operand: object, name: str) -> AnyJson:
    """Return the value of an operand's single member if it has this name, else None."""
    if not isinstance(operand, dict) or len(operand) != 1:
        return None
    return operand.get(name, operand.get(f"{SIGIL}{name}"))
