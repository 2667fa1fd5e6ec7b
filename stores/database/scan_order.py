"""The order in which MongoDB reads the documents of a project where it must read many: by an index, or as stored.

Every index of a collection can serve such a read, so MongoDB's planner tries all of them. It may read a third of the
collection by each before it decides, and it may decide for an order in which it fetches documents at random. Therefore
`scan_hint` decides:

- A page is read in the order of its sort, so that it ends early.
- A count or a group is read by a value that an index has, such as an op, or within a range of times.
- Without these it is read as stored if most documents belong to the project, else by time, as documents lie on disk.

MongoDB's planner decides alone where it does so well: if an index answers all conditions, if few documents have one of
the values, and if an operator added an index for one of the fields.

Other queries name the index that serves them by `index_hint`. MongoDB refuses a hint to an index that it lacks, such as
one that a server still builds. Then `find_missing_indexes` finds out which ones are missing, and the query is repeated.
A router lists the indexes of one shard only. If another shard lacks the index, the query fails again, and is then
repeated without any hint.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from pymongo.errors import OperationFailure

from stores.database.collections import Collection, Document
from stores.database.indexes import INDEXES, Keys

if TYPE_CHECKING:
    from stores.database.driver import Hint

Stages = Sequence[Mapping[str, Any]]
Key = tuple[str, int]

MOST: Final = 0.7
"""Share of the documents of a collection from which those of a project are read as stored."""

SHARES_SECONDS: Final = 600.0
"""Time for which a process uses an estimate of the shares of projects."""

INDEXES_SECONDS: Final = 5.0
"""Time for which a process uses a list of indexes."""

MISSING_SECONDS: Final = 60.0
"""Seconds until a process tries a missing index again."""

_SAMPLE: Final = 100
"""Documents of an estimate. MongoDB picks them at random, which costs as much as reading them."""

_AS_STORED: Final = {"$natural": 1}
_PREFIX: Final = ("project_id", "visible")
_TIMES: Final = ("started_at", "created_at")
_COMMON: Final = (
    *("op_name", "usage_scope", "base_object_class", "feedback_type"),
    *("parent_id", "kind", "status", "is_latest"),
)
"""Indexed fields whose values many documents share, the most selective one first; of parents it is the null."""

_NARROWING: Final = (*_COMMON, *_TIMES)

_FIRST_STAGES: Final = {"$match", "$set"}
_READING_STAGES: Final = {"$match", "$set", "$sort", "$unwind", "$limit", "$skip"}
_EQUAL: Final = {"$eq", "$in"}
_RANGE: Final = {"$gt", "$gte", "$lt", "$lte"}
_NO_INDEX: Final = "hint provided does not correspond to an existing index"
_UNLISTED: Final = (13, 26, 166)
"""MongoDB's errors if its user may not list indexes, and if the collection does not exist or is a view."""


@dataclass(slots=True)
class _Conditions:
    """The conditions of a match that all must hold.

    Attributes:
        values: the values with which fields are compared by equality.
        ranges: the fields that are compared with bounds.
        unions: the alternatives of each disjunction.
        others: the paths of conditions that no built-in index serves.
    """

    values: dict[str, list[Any]] = field(default_factory=dict)
    ranges: set[str] = field(default_factory=set)
    unions: list[list["_Conditions"]] = field(default_factory=list)
    others: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, *matches: Mapping[str, Any]) -> "_Conditions":
        """Return the conditions of several matches."""
        found = cls()
        for match in matches:
            found._add(match)
        return found

    def _add(self, match: Mapping[str, Any]) -> None:
        for path, condition in match.items():
            if path == "$and":
                for each in condition:
                    self._add(each)
            elif path == "$or":
                self._add_union([_Conditions.of(each) for each in condition])
            elif path.startswith("$"):
                self.others.update(_paths({path: condition}))
            elif type(condition) is dict:
                self._add_operators(path, condition)
            else:
                self.values[path] = [condition]

    def _add_operators(self, path: str, operators: Mapping[str, Any]) -> None:
        for operator, operand in operators.items():
            if operator in _EQUAL:
                self.values[path] = [operand] if operator == "$eq" else list(operand)
            else:
                (self.ranges if operator in _RANGE else self.others).add(path)

    def _add_union(self, union: list["_Conditions"]) -> None:
        fields = {path for each in union for path in each.paths}
        # A partial index lacks the documents of an alternative that is true of null or of any document.
        if len(fields) == 1 and not any(each.others or each.unions or each.present != fields for each in union):
            self.ranges |= fields
        else:
            self.unions.append(union)

    @property
    def paths(self) -> set[str]:
        """The paths of all conditions."""
        paths = {*self.values, *self.ranges, *self.others}
        for union in self.unions:
            paths.update(*(each.paths for each in union))
        return paths

    @property
    def present(self) -> frozenset[str]:
        """The fields that all matching documents have."""
        return frozenset({path for path, values in self.values.items() if None not in values} | self.ranges)

    def is_selective(self, indexed: frozenset[str], order: Keys) -> bool:
        """Return True if few documents can match, or perhaps few: a field with many values has one, or a range.

        A range of the field that gives the order is read from an end.
        """
        return (
            "_id" in self.values
            or "_id" in self.ranges
            or any(
                path in indexed and (path not in _COMMON or (path == "parent_id" and None not in values))
                for path, values in self.values.items()
            )
            or not indexed.isdisjoint(self.ranges.difference(_COMMON, _TIMES, dict(order[:1])))
        )


@dataclass(frozen=True, slots=True)
class _BuiltIndex:
    """An index of a collection that MongoDB has: its keys after those of `_PREFIX`, and its partial filter."""

    name: str
    prefix: frozenset[str]
    keys: Keys
    only: Mapping[str, Any]

    @classmethod
    def listed(cls, name: str, listed: Mapping[str, Any]) -> "_BuiltIndex":
        """Return an index as the driver lists it."""
        # Operators may add indexes of other kinds, whose order is a text.
        keys: Keys = [(path, order if isinstance(order, int) else 0) for path, order in listed["key"]]
        length = next((number for number, (path, _) in enumerate(keys) if path not in _PREFIX), len(keys))
        prefix = frozenset(path for path, _ in keys[:length])
        # The driver's own dictionaries take long to compare.
        only = {
            path: dict(condition) if isinstance(condition, Mapping) else condition
            for path, condition in listed.get("partialFilterExpression", {}).items()
        }
        return cls(name, prefix, keys[length:], only)

    def has_all(self, values: Mapping[str, list[Any]], present: frozenset[str]) -> bool:
        """Return True if the index has all documents with some values, and with any values in some fields."""
        return self.prefix <= values.keys() and all(
            path in present if only == {"$exists": True} else values.get(path) == [only]
            for path, only in self.only.items()
        )

    @property
    def finds_by(self) -> str:
        """The first key; empty if others select the documents that the index has, apart from the project."""
        path = self.keys[0][0]
        return path if self.only.keys() <= {path, "project_id"} else ""

    def is_of(self, project_id: str) -> bool:
        """Return True if the index may have documents of a project."""
        return bool(self.only.get("project_id", project_id) == project_id)

    def rank(self) -> tuple[int, bool]:
        """Return a key that sorts indexes: those by fields with more values first, and of these those by time."""
        path, *others = dict(self.keys)
        place = _NARROWING.index(path) if path in _NARROWING else len(_NARROWING)
        return place, not others or others[0] not in _TIMES

    def first_keys(self, paths: Iterable[str]) -> int:
        """Return the number of first keys that are among some paths."""
        paths = set(paths)
        return next((number for number, (path, _) in enumerate(self.keys) if path not in paths), len(self.keys))

    def is_in_order(self, wanted: Keys, first_keys: int) -> bool:
        """Return True if the keys after the first ones give an order, forward or backward."""
        found = self.keys[first_keys : first_keys + len(wanted)]
        return found in (wanted, [(path, -direction) for path, direction in wanted])


@dataclass(slots=True)
class _Known:
    """The indexes of a collection and the shares of its projects, as a process last read them.

    `missing` names the indexes of LoomQL that MongoDB lacks.
    """

    indexes: Sequence[_BuiltIndex] = ()
    indexes_until: float = 0
    missing: frozenset[str] = frozenset()
    missing_until: float = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    shares_until: float = 0

    async def read_indexes(self, collection: Collection) -> Sequence[_BuiltIndex]:
        """Return the indexes that begin with the project."""
        if time.monotonic() >= self.indexes_until:
            try:
                found = await collection.index_information()
            except OperationFailure as error:
                if error.code not in _UNLISTED:
                    raise
                found = {}
            listed = [_BuiltIndex.listed(*each) for each in found.items()]
            self.indexes = [index for index in listed if "project_id" in index.prefix and index.keys]
            self.indexes_until = time.monotonic() + INDEXES_SECONDS
        return self.indexes

    async def share(self, collection: Collection, project_id: str) -> float:
        """Return the estimated share of the documents that belong to a project."""
        if time.monotonic() >= self.shares_until:
            counted: Document = {"_id": "$project_id", "number": {"$sum": 1}}
            rows = await collection.aggregate([{"$sample": {"size": _SAMPLE}}, {"$group": counted}]).to_list(None)
            sampled = sum(row["number"] for row in rows)
            self.shares = {row["_id"]: row["number"] / sampled for row in rows}
            self.shares_until = time.monotonic() + SHARES_SECONDS
        return self.shares.get(project_id, 0)


def _known(database: object) -> dict[str, _Known]:
    """Return what the process knows of the collections of a database, kept with Motor's object for it."""
    # Such objects are equal if they have one client and name, so a weak dictionary could find another one.
    known: dict[str, _Known] = vars(database).setdefault("_scan_order", {})
    return known


@cache
def _built_in(collection: str) -> tuple[_BuiltIndex, ...]:
    """Return the indexes that LoomQL builds for the documents of each project in a collection."""
    return tuple(
        _BuiltIndex.listed(index.name, {"key": index.keys, "partialFilterExpression": index.only})
        for index in INDEXES
        if index.collection == collection and index.keys[0][0] == "project_id"
    )


@cache
def _indexed(collection: str) -> frozenset[str]:
    """Return the fields by which these indexes find documents."""
    return frozenset(index.finds_by for index in _built_in(collection) if index.keys)


@lru_cache(1_000)
def _has_order(collection: str, values: frozenset[str], present: frozenset[str], order: tuple[Key, ...]) -> bool:
    """Return True if one of these indexes has an order after fields that are compared by equality."""
    return any(
        index.only.keys() <= present and index.is_in_order([*order], index.first_keys(values))
        for index in _built_in(collection)
    )


@lru_cache(1_000)
def _covers(collection: str, present: frozenset[str], paths: frozenset[str]) -> bool:
    """Return True if one of these indexes has all paths of documents that have some fields."""
    return any(
        index.only.keys() <= present and paths <= {*index.prefix, *dict(index.keys)} for index in _built_in(collection)
    )


async def scan_hint(collection: Collection, stages: Stages) -> dict[str, Any]:
    """Return the driver's argument `hint` for a pipeline, given without a cursor's position; empty if it needs none."""
    name = collection.name
    number = next((number for number, stage in enumerate(stages) if _FIRST_STAGES.isdisjoint(stage)), len(stages))
    conditions = _Conditions.of(*(stage.get("$match", {}) for stage in stages[:number]))
    indexed = _indexed(name)
    project_ids = conditions.values.get("project_id", ())
    rest = stages[number:]
    order: Keys = list(rest[0]["$sort"].items()) if rest and "$sort" in rest[0] else []
    if len(project_ids) != 1 or conditions.is_selective(indexed, order):
        return {}
    paths = conditions.paths
    unserved, present = paths.difference(_PREFIX, indexed), conditions.present
    if not unserved:
        if order:
            is_compared = not (conditions.others or conditions.unions)
            is_answered = is_compared and _has_order(name, frozenset(conditions.values), present, (*order,))
        else:
            read = _paths_read(rest)
            is_answered = read is not None and _covers(name, present, frozenset(read | paths))
        if is_answered:
            return {}
    known = _known(collection.database).setdefault(name, _Known())
    indexes = await known.read_indexes(collection)
    if not indexes or any(index.finds_by in unserved and index.is_of(project_ids[0]) for index in indexes):
        return {}
    usable = [index for index in indexes if index.has_all(conditions.values, present)]
    hint: Hint | None = _choose(usable, conditions, order)
    by_time = next((index.name for index in usable if index.keys[0][0] in _TIMES and not index.only), None)
    if hint is None and by_time:
        hint = _AS_STORED if await known.share(collection, project_ids[0]) >= MOST else by_time
    return {"hint": hint} if hint else {}


def _choose(indexes: Sequence[_BuiltIndex], conditions: _Conditions, order: Keys) -> str | None:
    """Choose an index by the order and the conditions; None if it has neither, and empty if the planner should."""
    values = conditions.values.keys()
    # Most calls have a parent, so that a range of parents is none.
    narrowing = (values | conditions.ranges - {"parent_id"}).intersection(_NARROWING)
    by_value = min((index for index in indexes if index.first_keys(narrowing)), key=_BuiltIndex.rank, default=None)
    in_order = [index for index in indexes if order and index.is_in_order(order, index.first_keys(values))]
    if not in_order:
        return by_value.name if by_value else None
    best = min(in_order, key=lambda index: (-index.first_keys(values), index.rank()))
    return best.name if by_value is None or by_value.keys[0][0] == best.keys[0][0] else ""


def index_hint(collection: Collection, name: str) -> dict[str, Any]:
    """Return the driver's argument `hint` for an index of LoomQL; empty if MongoDB lacked it in the last minute."""
    known = _known(collection.database).setdefault(collection.name, _Known())
    return {} if name in known.missing and time.monotonic() < known.missing_until else {"hint": name}


def lacks_index(error: Exception) -> bool:
    """Return True if MongoDB lacks the index of a hint."""
    return isinstance(error, OperationFailure) and _NO_INDEX in str(error)


async def find_missing_indexes(collection: Collection, *, may_be_any: bool = False) -> None:
    """Find the missing indexes of a collection's database; give no hints to them for `MISSING_SECONDS`.

    `may_be_any` treats all as missing, because the list that MongoDB gave does not show those of each shard.
    """
    database = collection.database
    if may_be_any:  # also those of collections that the process has not read yet
        for index in INDEXES:
            _known(database).setdefault(index.collection, _Known())
    for name, known in [*_known(database).items()]:  # other queries add collections meanwhile
        try:
            built = set() if may_be_any else await complete_indexes(database[name])
        except OperationFailure as unlisted:
            if unlisted.code not in _UNLISTED:
                raise
            built = set()
        wanted = {index.name for index in INDEXES if index.collection == name}
        known.missing, known.missing_until = frozenset(wanted - built), time.monotonic() + MISSING_SECONDS
        known.indexes, known.indexes_until = (), time.monotonic() + INDEXES_SECONDS


async def complete_indexes(collection: Collection) -> set[str]:
    """Return the names of a collection's indexes, without those that MongoDB still builds."""
    found = await collection.database.command("listIndexes", collection.name, includeIndexBuildInfo=True)
    return {each["spec"]["name"] for each in found["cursor"]["firstBatch"] if "indexBuildInfo" not in each}


def _paths_read(stages: Stages) -> set[str] | None:
    """Return the paths that stages read from the documents; None if they may need whole documents."""
    read: set[str] = set()
    for stage in stages:
        [(name, body)] = stage.items()
        if name == "$count":
            return read
        if name == "$group":
            return read.union(_references(body))
        if name == "$project":
            return read.union(_references(body), (path for path, shown in body.items() if shown in (1, True)))
        if name not in _READING_STAGES:
            return None
        read.update(_paths(body) if name == "$match" else body if name == "$sort" else _references(body))
    return None


def _references(expression: object) -> Iterator[str]:
    """Yield the paths that an expression reads; an empty one for a whole document."""
    if isinstance(expression, str) and expression.startswith("$"):
        if not expression.startswith("$$"):
            yield expression[1:]
        elif expression.startswith(("$$ROOT", "$$CURRENT")):
            yield ""
    elif isinstance(expression, Mapping):
        for name, operand in expression.items():
            yield from () if name == "$literal" else _references(operand)
    elif isinstance(expression, list | tuple):
        for each in expression:
            yield from _references(each)


def _paths(match: object) -> Iterator[str]:
    """Yield the paths that a match reads."""
    if isinstance(match, Mapping):
        for name, condition in match.items():
            if name == "$expr":
                yield from _references(condition)
            elif name.startswith("$"):
                yield from _paths(condition)
            else:
                yield name
    elif isinstance(match, list | tuple):
        for each in match:
            yield from _paths(each)
