"""Prediction of which filters and sorts an index serves, from their field names alone and without asking MongoDB."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, cast

from stores.database.indexes import INDEXES, Keys
from stores.errors import BadInputError
from stores.json import AnyJson
from stores.paging import PageRequest
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.parser import COMPARISONS, MAX_DEPTH, MAX_NODES, SIGIL, Operator
from stores.query.sort import SortBy

UNINDEXED_FILTERS: Final = (
    "wb_user_ids",
    "kinds",
    "models",
    "providers",
    "tags",
    "environments",
    "releases",
    "finish_reasons",
    "min_time_to_first_token_ms",
    "max_time_to_first_token_ms",
    "leaf_object_classes",
    "exclude_base_object_classes",
)
"""Members of filters that no index serves."""

_UNIQUE: Final = "id"
_PLAIN: Final = frozenset({str, int, set, frozenset, PageRequest})
"""Types of arguments that do not affect which documents are read."""


def filter_needs_scan(member: Callable[[str], object]) -> bool:
    """Return True if no index serves some condition of a filter.

    `member` returns the value of a member by its name, None if the filter lacks it.
    """
    return any(member(name) not in (None, []) for name in UNINDEXED_FILTERS)


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
        keys = {index.name: [key for key in index.keys if key[0] not in ("project_id", "visible")] for index in indexes}
        self.table = table
        # An index of a part of the documents finds these by its first key only if that key selects them.
        self._leading = {
            path for index in indexes for path, _order in keys[index.name][:1] if index.only.keys() <= {path}
        }
        self._paths = [([path for path, _order in keys[index.name]], index.only.keys()) for index in indexes]
        sparse = {field.path for field in table if field.is_sparse}
        self._orders = [keys[index.name] for index in indexes if not index.only or index.exists in sparse]

    def of_argument(self, _name: str) -> "IndexedFields":
        """Return the indexed fields that an argument of a list, by its GraphQL name, sets conditions on."""
        return self

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
                return filter_needs_scan(lambda name: getattr(argument, name, None))

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
        fields: list[Field] = []
        for key in sort_by:
            try:
                field = self.table[key.field].field
            except BadInputError:
                return True
            # Nulls sort last: an ascending sort of an optional field uses a computed key, which no index has.
            if field.kind is Kind.JSON or (field.optional and not key.descending):
                return True
            wanted.append((field.path, -1 if key.descending else 1))
            fields.append(field)
        if fields[1:] and fields[0].low_cardinality and fields[0].values:
            # MongoDB merges one index scan per value (`Order.values`).
            wanted[0] = (wanted[0][0], wanted[1][1])
        if wanted and _UNIQUE not in dict(wanted):
            wanted.append((_UNIQUE, wanted[-1][1]))
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
        is_bounded = depth <= MAX_DEPTH and next(budget, None) is not None
        match _sole_member(tree) if is_bounded else None:
            case "and", [_, *_] as operands:
                for each in operands:
                    yield from self._conditions(each, depth + 1, budget)
            case "in", [operand, [*values]] | {"input": operand, "values": [*values]}:
                are_literals = all(next(budget, None) is not None and _is_literal(each) for each in values)
                yield self._condition(operand, names_values=True) if are_literals else None
            case name, [left, right] if name in COMPARISONS:
                # No index finds the values that are prefixes of a literal.
                flipped = right if _is_literal(left) and name != Operator.STARTS_WITH else None
                yield self._condition(left if _is_literal(right) else flipped, names_values=name == Operator.EQ)
            case _:
                yield None

    def _condition(self, operand: object, *, names_values: bool) -> "_Condition | None":
        match _sole_member(operand):
            case "getField", str() as name:
                try:
                    field = self.table[name].field
                except BadInputError:
                    return None
                is_indexed = field.kind is not Kind.JSON and field.path in self._leading
                return _Condition(field, names_values) if is_indexed else None
            case _:
                return None


class _Condition(NamedTuple):
    """A condition on one field: equal to one of some values (`names_values`), or within a range."""

    field: Field
    names_values: bool

    @property
    def is_selective(self) -> bool:
        """True if few documents match; many share each number, or each value of a low-cardinality text."""
        return self.names_values and self.field.kind is not Kind.NUMBER and not self.field.low_cardinality


def _is_literal(operand: object) -> bool:
    """Return True for a literal other than null, for which an index may have no entry."""
    match _sole_member(operand):
        case "literal", value:
            return value is not None
        case _:
            return False


def _sole_member(operand: object) -> tuple[str, AnyJson] | None:
    """Return the key, without its sigil, and the value of an operand with a single member."""
    if not isinstance(operand, dict) or len(operand) != 1:
        return None
    [(name, value)] = operand.items()
    return name.removeprefix(SIGIL), value
