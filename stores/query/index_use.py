"""Which conditions and sorts an index serves, told by the names of their fields alone, before the database is asked."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

from stores.database.indexes import INDEXES, Keys
from stores.errors import BadInputError
from stores.paging import PageRequest
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.parser import MAX_DEPTH, MAX_NODES, SIGIL
from stores.query.sort import SortBy
from stores.query.syntax_tree import Comparison

UNINDEXED_FILTERS: Final = ("wb_user_ids", "models", "leaf_object_classes", "exclude_base_object_classes")
"""The members of filters that no index leads to."""

_SCOPE: Final = ("project_id", "visible")
_UNIQUE: Final = ("id", 1)
_PLAIN: Final = frozenset({str, int, set, frozenset, PageRequest})
"""Arguments that say nothing of which documents are read."""

_COMPARISONS: Final = frozenset(comparison.value for comparison in Comparison)


class IndexedFields:
    """The fields of a collection that its own indexes serve; those that operators add are not among them.

    A condition needs no scan if it compares such fields with literals, joined by `and`, and either one index leads to
    what passes all comparisons, or one of them names values that few documents have. A sort needs none if an index has
    its keys in their order. All else may read every document of a project.

    Args:
        table: the collection's fields, as clients name them.
        collection: its name in `stores.database.indexes`; one without indexes serves nothing.
    """

    def __init__(self, table: FieldTable, collection: str) -> None:
        indexes = [index for index in INDEXES if index.collection == collection and index.keys[0][0] == "project_id"]
        keys = {index.name: _behind_scope(index.keys) for index in indexes}
        self._table = table
        self._leading = {found[0][0] for found in keys.values() if found}
        self._paths = [([path for path, _order in keys[index.name]], index.only.keys()) for index in indexes]
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
        conditions = list(self._conditions(tree, 0, iter(range(MAX_NODES))))
        return None in conditions or not self._is_served([each for each in conditions if each])

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

    def _is_served(self, conditions: Sequence["_Condition"]) -> bool:
        """True if an index leads to the documents that pass all of these conditions, or to few that pass one."""
        if any(condition.is_selective for condition in conditions):
            return True
        named = {condition.field.path for condition in conditions if condition.names_values}
        ranges = {condition.field.path for condition in conditions} - named
        return any(
            # Behind the fields whose values are named, an index has room for one range.
            {*keys[: len(named)]} == named and ranges <= {*keys[len(named) : len(named) + 1]} and only <= named | ranges
            for keys, only in self._paths
        )

    def _conditions(self, tree: object, depth: int, left: Iterator[int]) -> Iterator["_Condition | None"]:
        """The conditions that a tree joins by `and`; None for one that no index serves, or beyond the `left` nodes."""
        if not isinstance(tree, dict) or len(tree) != 1 or depth > MAX_DEPTH or next(left, None) is None:
            yield None
            return
        [(spelled, operands)] = tree.items()
        name = spelled.removeprefix(SIGIL)
        if name == "and" and operands and isinstance(operands, list):
            for each in operands:
                yield from self._conditions(each, depth + 1, left)
        elif name in _COMPARISONS:
            yield self._comparison(Comparison(name), operands)
        else:
            yield self._membership(operands, left) if name == "in" else None

    def _comparison(self, comparison: Comparison, operands: object) -> "_Condition | None":
        match operands:
            case [left, right]:
                # No index leads to the values that a literal starts with.
                flipped = right if _is_literal(left) and comparison is not Comparison.STARTS_WITH else None
                of = left if _is_literal(right) else flipped
                return self._condition(of, names_values=comparison is Comparison.EQ)
            case _:
                return None

    def _membership(self, operands: object, left: Iterator[int]) -> "_Condition | None":
        """The condition of an `in` whose operands are a field that has an index, and literals."""
        match operands:
            case [of, list(values)] | {"input": of, "values": list(values)}:
                are_literals = all(next(left, None) is not None and _is_literal(each) for each in values)
                return self._condition(of, names_values=True) if are_literals else None
            case _:
                return None

    def _condition(self, operand: object, *, names_values: bool) -> "_Condition | None":
        name = _only(operand, "getField")
        if not isinstance(name, str):
            return None
        try:
            field = self._table[name].field
        except BadInputError:
            return None
        is_indexed = field.kind is not Kind.JSON and field.path in self._leading
        return _Condition(field, names_values) if is_indexed else None


class _Condition(NamedTuple):
    """A condition on one field: it is one of some values, which a condition names, or is within a range."""

    field: Field
    names_values: bool

    @property
    def is_selective(self) -> bool:
        """True if few documents pass: numbers, and texts of a few classes, are shared by many."""
        return self.names_values and self.field.kind is not Kind.NUMBER and not self.field.coarse


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
