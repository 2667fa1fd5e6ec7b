"""Op names in filters and queries: a plain name, `name:*` or a ref, and the stored op names that each matches.

A call's `op_name` is a plain name or the ref of an op version. A plain name matches itself and every version of the
project's op of that name, so the names shown in calls and roll-ups can be used in filters.

An index returns the calls of each exact op name by start, and MongoDB merges several such scans. For a prefix, MongoDB
sorts all its calls in memory. A page is therefore read by the cached exact names (`OpVersions`), followed by a check
for calls with other names; if there are any, the page is read again.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary

from stores.calls.fields import OP_NAME
from stores.database import Database
from stores.database.driver import all_rows
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.input_checks import MAX_NAME
from stores.query import Query
from stores.query.fields import FieldTable, starting_with
from stores.query.parser import MAX_FIELD_ACCESSES
from stores.query.syntax_tree import Get, Literal, Operand, Operation, Operator, iter_gets, map_operands
from stores.refs import SCHEME

_ANY_VERSION: Final = ":*"
_NEVER_IN_OP_NAMES: Final = frozenset("/:")
"""Characters that never occur in the name of a versioned op."""


MAX_VERSIONS: Final = 100
"""Op names of one page: MongoDB plans each scan in 50 us, and merges at most 200."""

MAX_PREFIXES: Final = 20

_MAX_CACHED: Final = 1_000
"""Cached lists of op names per database and process."""

Names = tuple[str, ...]

_Key = tuple[str, tuple[str, ...]]

_CACHES: Final[WeakKeyDictionary[Database, OrderedDict[_Key, Names | None]]] = WeakKeyDictionary()
"""Cached op names by project and prefixes; None if there were more than `MAX_VERSIONS`."""


@dataclass(frozen=True, slots=True)
class OpNames:
    """The stored op names to match: exact names, and all names with one of the prefixes, which end in a colon."""

    exact: Sequence[str]
    prefixes: Sequence[str]


def op_names(project_id: str, names: Iterable[str]) -> OpNames:
    """Expand op names of a filter to exact names and prefixes.

    `name` matches the plain name and every version of the op. `name:*` also matches plain names that start with
    `name:`, except for `weave:*`, since every ref starts with `weave:`. A ref matches itself; a ref that ends in `:*`
    matches every version.
    """
    exact: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for name in names:
        plain = name.removesuffix(_ANY_VERSION)
        if plain != name and not SCHEME.startswith(f"{plain}:"):
            prefixes[f"{plain}:"] = None
        if name.startswith(SCHEME):
            exact |= {name: None} if plain == name else {}
            continue
        exact[plain] = None
        if plain and _NEVER_IN_OP_NAMES.isdisjoint(plain):
            prefixes[f"{SCHEME}{project_id}/op/{plain}:"] = None
    return OpNames(list(exact), list(prefixes))


def compile_calls_query(query: Query, fields: FieldTable, project_id: str) -> Operand:
    """Compile a query over a project's calls, with op names expanded to the stored op names that they match.

    Raises:
        BadInputError: if the query is invalid, if it names too many ops, or if every result would need a null in a
            field that is never null.
    """
    parsed = query.operation(fields)
    _check_nulls(parsed)
    operation = _with_op_names(parsed, project_id)
    if sum(1 for _ in iter_gets(operation)) > MAX_FIELD_ACCESSES:
        raise BadInputError(
            f"op names and other fields expand to more than {MAX_FIELD_ACCESSES:,} conditions; name fewer ops, or name "
            "refs of op versions",
            "query",
        )
    return operation


def _check_nulls(node: Operand) -> None:
    match node:
        case Operation(Operator.AND, terms):
            for term in terms:
                _check_nulls(term)
        case Operation(Operator.EQ, (Get(name, access), Literal(None)) | (Literal(None), Get(name, access))) if (
            not access.field.optional
        ):
            raise BadInputError(f"{name} is never null, so no call would match; remove this condition", "query")


def _with_op_names(node: Operand, project_id: str) -> Operand:
    match node:
        case Operation(
            Operator.EQ, (Get() as get, Literal(str() as name)) | (Literal(str() as name), Get() as get)
        ) if _is_op_name(get):
            return _expanded_condition(get, [name], (), project_id)
        case Operation(Operator.IN, (Get() as get, *members)) if _is_op_name(get):
            names = [each.value for each in members if isinstance(each, Literal) and isinstance(each.value, str)]
            others = [each for each in members if not (isinstance(each, Literal) and isinstance(each.value, str))]
            return _expanded_condition(get, names, [_with_op_names(each, project_id) for each in others], project_id)
        case Operation(Operator.IN, (Literal(str() as name) as literal, *members)) if any(map(_is_op_name, members)):
            get = next(each for each in members if isinstance(each, Get) and _is_op_name(each))
            others = [_with_op_names(each, project_id) for each in members if not _is_op_name(each)]
            rest = Operation(Operator.IN, (literal, *others))
            return Operation(Operator.OR, (_expanded_condition(get, [name], (), project_id), rest))
        case _:
            return map_operands(node, lambda operand: _with_op_names(operand, project_id))


def searched_prefixes(node: Operand) -> Iterator[str]:
    """Yield the op name prefixes that an operation searches, except those below a negation."""
    match node:
        case Operation(_, (_, Literal(str() as prefix))) if _is_prefix(node):
            yield prefix
        case Operation(Operator.AND | Operator.OR, terms):
            for term in terms:
                yield from searched_prefixes(term)


def expand_prefixes(node: Operand, names: Sequence[str]) -> Operand:
    """Replace prefix conditions on op names with the known names that have the prefix."""
    match node:
        case Operation(Operator.OR, (Operation(Operator.IN, (Get() as get, *members)), *prefixed)) if _is_op_name(
            get
        ) and all(map(_is_prefix, prefixed)):
            prefixes = tuple(chain.from_iterable(map(searched_prefixes, prefixed)))
            found = [Literal(name) for name in names if name.startswith(prefixes)]
            return Operation(Operator.IN, (get, *members, *found))
        case Operation(_, (Get() as get, Literal(prefix))) if _is_prefix(node):
            found = [Literal(name) for name in names if name.startswith(str(prefix))]
            return Operation(Operator.IN, (get, *found))
        case Operation(Operator.AND | Operator.OR):
            return map_operands(node, lambda term: expand_prefixes(term, names))
        case _:
            # Negated, an incomplete list of names would match calls of the missing names.
            return node


def _is_prefix(node: Operand) -> bool:
    match node:
        case Operation(Operator.STARTS_WITH, (Get() as get, Literal(str()))):
            return _is_op_name(get)
        case _:
            return False


def _is_op_name(node: Operand) -> bool:
    return isinstance(node, Get) and node.access.field is OP_NAME


def _expanded_condition(get: Get, names: Iterable[str], others: Sequence[Operand], project_id: str) -> Operand:
    """Build the condition that an op name matches one of the names, or equals another operand."""
    expanded = op_names(project_id, names)
    members = (*map(Literal, expanded.exact), *others)
    prefixed = [Operation(Operator.STARTS_WITH, (get, Literal(prefix))) for prefix in expanded.prefixes]
    if len(members) == 1 and not prefixed:
        return Operation(Operator.EQ, (get, *members))
    membership = Operation(Operator.IN, (get, *members))
    return Operation(Operator.OR, (membership, *prefixed)) if prefixed else membership


class OpVersions:
    """The op names of a project's calls that start with one of the prefixes.

    Ops rarely lose versions, so a list that was too long is not read again.
    """

    def __init__(self, database: Database, project_id: str, prefixes: Sequence[str]) -> None:
        self._calls = database.calls
        self._cache = _CACHES.setdefault(database, OrderedDict())
        self._scope = {"project_id": project_id, "visible": True}
        # No op name starts with a longer prefix, and a long one would fill the cache.
        self._prefixes = tuple([prefix for prefix in prefixes if len(prefix) <= MAX_NAME])
        self._key = project_id, self._prefixes
        self._is_readable = bool(prefixes) and len(self._prefixes) <= MAX_PREFIXES

    async def cached_or_read(self) -> Names | None:
        """Return the cached names, else read them; None without prefixes, or if there are too many names."""
        if self._key not in self._cache:
            return await self.read()
        self._cache.move_to_end(self._key)
        return self._cache[self._key]

    async def read(self, session: Session | None = None) -> Names | None:
        """Read the current names, or those of a session's snapshot; None without prefixes, or if there are too many."""
        if not self._is_readable or self._cache.get(self._key, ()) is None:
            return None
        if not self._prefixes:
            return ()
        rows = await all_rows(self._calls, self._distinct_stages, MAX_VERSIONS + 2, session)
        names = tuple([row["_id"] for row in rows]) if len(rows) <= MAX_VERSIONS else None
        self._cache[self._key] = names
        self._cache.move_to_end(self._key)
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return names

    async def has_others(self, names: Names) -> bool:
        """Return True if a call has a name with one of the prefixes that is not among `names`."""
        if not self._prefixes:
            return False
        others = [
            {OP_NAME.path: starting_with(prefix) | {"$nin": [name for name in names if name.startswith(prefix)]}}
            for prefix in self._prefixes
        ]
        stages: list[dict[str, Any]] = [
            {"$match": self._scope | {"$or": others}},
            {"$limit": 1},
            {"$project": {"_id": 0, OP_NAME.path: 1}},
        ]
        # Read like pages, which exclude writes that a majority has not stored yet.
        return bool(await all_rows(self._calls, stages, 2))

    @property
    def _distinct_stages(self) -> list[dict[str, Any]]:
        """The stages that find each op name once, from an index alone."""
        each_once: dict[str, Any] = {"$group": {"_id": f"${OP_NAME.path}"}}
        first, *others = [
            [{"$match": self._scope | {OP_NAME.path: starting_with(prefix)}}, each_once] for prefix in self._prefixes
        ]
        unions = [{"$unionWith": {"coll": self._calls.name, "pipeline": other}} for other in others]
        return [*first, *unions, {"$limit": MAX_VERSIONS + 1}]
