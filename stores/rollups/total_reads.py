"""Reads of stored totals of traces or threads that are right in a snapshot; the others must be read from calls."""

from collections import abc
from collections.abc import AsyncIterator, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self

from stores.costs import Prices
from stores.costs.project_prices import versioned_prices_of
from stores.database import Collection, Database, Document
from stores.database.content_store import batches
from stores.database.indexes import INDEXES, index_by
from stores.database.scan_order import index_hint
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.hours import HOUR, state_key
from stores.paging import Order, Row, SortKey
from stores.query.explain import Plan, explain
from stores.rollups.parents import BY_START
from stores.rollups.reads import Coverage, DimensionMatch, read_marks
from stores.rollups.trace_totals import (
    ALWAYS,
    BY_HOUR,
    BY_TRACE,
    MANY_THREADS,
    TOTAL_COST,
    cost_of,
    crowded_hours,
    total_key,
    totals_of,
)

Stages = list[dict[str, Any]]

MAX_STALE: Final = 10_000
"""Traces or threads that a query reads from calls besides totals; with more, it reads all calls."""

MAX_LIVE_CALLS: Final = 100_000
"""Calls of marked hours whose traces a query reads; with more, it reads all calls."""

_ALL: Final[Document] = {}
_BATCH: Final = 2_000
_THREADS: Final = {"threads": {"$addToSet": {"$cond": [{"$gt": ["$turn_of", ""]}, "$turn_of", "$$REMOVE"]}}}
_BY_STALE: Final = index_by("thread_totals", "project_id", "stale")

_HEAD: Final = {"trace_totals": ("trace_id", "id", "started_at"), "thread_totals": ("id",)}
"""Fields that each row has, by collection; the first one identifies it."""

_OF_COST: Final = ("usage", "first", "last")
_BOUNDS: Final = {"$eq", "$in", "$gt", "$gte", "$lt", "$lte"}
_INDEXED: Final = {
    collection: {index.keys[1][0] for index in INDEXES if index.collection == collection} for collection in _HEAD
}


class _Segment(NamedTuple):
    """A segment of a list: the stages that find it in its order, and the field whose index is read."""

    stages: Stages
    path: str


@dataclass(frozen=True, slots=True)
class StoredTotals:
    """The totals of a project's traces, or threads, that are right in a snapshot.

    Attributes:
        totals: the collection.
        stale: the traces or threads to read from calls.
        prices: the current prices if stored costs are of others.
        of_traces: the totals of traces, if these are totals of threads.
        live_threads: the threads that have turns in marked hours, if totals of traces were found for threads.
    """

    database: Database
    project_id: str
    session: Session
    totals: Collection
    stale: set[str]
    prices: Prices | None = None
    of_traces: Self | None = None
    live_threads: set[str] = field(default_factory=set)

    @classmethod
    async def find(
        cls, database: Database, project_id: str, session: Session, wanted: Container[str], *, of_threads: bool = False
    ) -> Self | None:
        """Return the totals of a project's traces with some fields; None if they help too little."""
        coverage = await Coverage.find(database, project_id, DimensionMatch(), session)
        if coverage is None:
            return None
        with_hours = {"project_id": project_id, "hours": {"$in": [ALWAYS, *sorted(coverage.live_hours)]}}
        by_hour = index_hint(database.trace_totals, BY_HOUR)
        limits = {"limit": MAX_STALE + 1, "batch_size": MAX_STALE + 2, **by_hour}
        totals = await database.trace_totals.find(
            with_hours, {"_id": 0, "trace_id": 1}, session=session, **limits
        ).to_list(None)
        stale, threads = {total.get("trace_id") for total in totals}, set[str]()
        if len(totals) > MAX_STALE or None in stale:
            return None
        if coverage.live:
            stages: Stages = [
                {"$match": {"$or": coverage.live}},
                {"$limit": MAX_LIVE_CALLS + 1},
                {"$group": {"_id": "$trace_id", "number": {"$sum": 1}, **(_THREADS if of_threads else {})}},
            ]
            by_start = index_hint(database.calls, BY_START)
            cursor = database.calls.aggregate(stages, session=session, batchSize=_BATCH, **by_start)
            rows = await cursor.to_list(None)
            stale |= {row["_id"] for row in rows}
            threads.update(*(row.get("threads", ()) for row in rows))
            if len(stale) > MAX_STALE or sum(row["number"] for row in rows) > MAX_LIVE_CALLS:
                return None
        prices = None
        if TOTAL_COST in wanted:
            state = await database.hour_marks.find_one(state_key(project_id), {"prices": 1}, session=session) or {}
            prices = await _changed_prices(database, project_id, state.get("prices"))
        found = {each for each in stale if each is not None}
        return cls(database, project_id, session, database.trace_totals, found, prices, None, threads)

    @classmethod
    async def find_of_threads(
        cls, database: Database, project_id: str, session: Session, wanted: Container[str]
    ) -> Self | None:
        """Return the totals of a project's threads with some fields; None if they help too little.

        That is also so while stored costs are of other prices.
        """
        traces = await cls.find(database, project_id, session, wanted, of_threads=True)
        if traces is None or traces.prices:
            return None
        many = {"project_id": project_id, "hours": MANY_THREADS}
        by_hour = index_hint(database.trace_totals, BY_HOUR)
        if await database.trace_totals.find_one(many, {"_id": 1}, session=session, **by_hour):
            return None
        stale = {*traces.live_threads}
        async for total in traces.documents(traces.stale, ["turns.thread"], {"turns": {"$exists": True}}):
            stale.update(turn["thread"] for turn in total["turns"])
            if len(stale) > MAX_STALE:
                return None
        by_stale = index_hint(database.thread_totals, _BY_STALE)
        limits = {"limit": MAX_STALE + 1, "batch_size": MAX_STALE + 2, **by_stale}
        without = {"project_id": project_id, "stale": True}
        found = await database.thread_totals.find(without, {"_id": 0, "id": 1}, session=session, **limits).to_list(None)
        stale.update(total["id"] for total in found)
        due = database.due_threads.find(totals_of(project_id), {"threads": 1}, session=session)
        async for some in due:
            stale.update(some["threads"])
            if len(stale) > MAX_STALE:
                await due.close()
                return None
        if len(stale) > MAX_STALE:
            return None
        return cls(database, project_id, session, database.thread_totals, stale, None, traces)

    async def documents(
        self, ids: abc.Collection[str] | None, shown: Iterable[str], match: Document = _ALL
    ) -> AsyncIterator[Document]:
        """Yield some fields of the totals that match, of all traces or threads, or of some of these."""
        keys = [total_key(self.project_id, each)["_id"] for each in ids or ()]
        matches = [match] if ids is None else [{**match, "_id": {"$in": some}} for some in batches(keys, _BATCH)]
        for each in matches:
            totals = self.totals.find(
                {"project_id": self.project_id, **each},
                {"_id": 0} | dict.fromkeys(shown, 1),
                session=self.session,
                batch_size=_BATCH,
            )
            while batch := await totals.to_list(_BATCH):
                for total in batch:
                    yield total

    async def rows(self, wanted: abc.Collection[str], trace_ids: abc.Collection[str] | None) -> AsyncIterator[Row]:
        """Yield the rows of all traces that are not stale, or of some of these, with the wanted fields.

        Traces of which only calls tell the cost become stale meanwhile.
        """
        async for row in self.documents(trace_ids, (*self._head, *wanted, *(_OF_COST if self.prices else ()))):
            if row["trace_id"] in self.stale:
                continue
            if _set_cost(row, self.prices):
                yield row
            else:
                self.stale.add(row["trace_id"])

    async def first_rows(
        self, order: Order, match: Document, position: Sequence[object] | None, number: int, *, backward: bool
    ) -> AsyncIterator[Row]:
        """Yield the matching rows after a position in an order, at least a number of those that are not stale.

        Neither the order nor the match may need costs if those that are stored are not current.
        """
        found = 0
        for segment in self._segments(order, match, position, backward=backward):
            async for row in self._of_segment(order, match, segment, number - found):
                found += 1
                yield row
            if found >= number:
                return

    async def _of_segment(self, order: Order, match: Document, segment: _Segment, number: int) -> AsyncIterator[Row]:
        """Yield the first rows of a segment, up to a number."""
        stages, size = self._stages(order, match, segment), min(number + 1, _BATCH)
        # The limit spares memory where MongoDB sorts.
        stages.append({"$limit": number + len(self.stale)})
        rows = self.totals.aggregate(
            stages, session=self.session, allowDiskUse=True, batchSize=size, **self._hint(segment.path)
        )
        found = 0
        while found < number and (batch := await rows.to_list(size)):
            for row in batch:
                if found < number and row[self._head[0]] not in self.stale:
                    found += 1
                    yield row
        await rows.close()

    async def explain(self, order: Order, match: Document, number: int) -> Plan:
        """Return the plan of the first rows."""
        segment, *_ = self._segments(order, match, None, backward=False)
        stages = [*self._stages(order, match, segment), {"$limit": number}]
        return replace(await explain(self.totals, stages, **self._hint(segment.path)), reads_totals=True)

    def _stages(self, order: Order, match: Document, segment: _Segment) -> Stages:
        shown = {"_id": 0} | dict.fromkeys((*self._head, *(key.path for key in order.keys)), 1)
        matches = [{"$match": each} for each in ({"project_id": self.project_id}, match) if each]
        return [*matches, *segment.stages, {"$project": shown}]

    async def count(self, match: Document, limit: int | None = None) -> int:
        """Count those that match, without stale ones; at least up to `limit`."""
        totals, matches = self.totals, {"$and": [{"project_id": self.project_id}, match]}
        at_most = {} if limit is None else {"limit": limit + len(self.stale)}
        by_index = self._hint(self._path_of(match))
        number = await totals.count_documents(matches, session=self.session, **by_index, **at_most)
        for some in batches([*self.stale], _BATCH):
            keys = [total_key(self.project_id, each)["_id"] for each in some]
            number -= await totals.count_documents({**matches, "_id": {"$in": keys}}, session=self.session)
        return number

    async def count_stale(self) -> int:
        """Count the stale traces that have calls."""
        number = 0
        for some in batches([*self.stale], _BATCH):
            stages: Stages = [
                {"$match": {"project_id": self.project_id, "visible": True, "trace_id": {"$in": some}}},
                {"$group": {"_id": "$trace_id"}},
                {"$count": "number"},
            ]
            rows = self.database.calls.aggregate(stages, session=self.session)
            number += sum([row["number"] async for row in rows])
        return number

    @property
    def _head(self) -> tuple[str, ...]:
        return _HEAD[self.totals.name]

    def _hint(self, path: str) -> dict[str, Any]:
        return index_hint(self.totals, index_by(self.totals.name, "project_id", path))

    def _path_of(self, match: Document) -> str:
        """Return the indexed field by which MongoDB finds the totals that match, or any one if no index finds them."""
        return next(self._bounded(match), "num_errors")

    def _bounded(self, match: Document) -> Iterator[str]:
        """Yield the indexed fields to which a match sets bounds."""
        for name, value in match.items():
            if name == "$and" or (name == "$or" and len(value) == 1):
                for each in value:
                    yield from self._bounded(each)
            elif name in _INDEXED[self.totals.name] and isinstance(value, dict) and not _BOUNDS.isdisjoint(value):
                yield name

    def _segments(
        self, order: Order, match: Document, position: Sequence[object] | None, *, backward: bool
    ) -> list[_Segment]:
        """Return the segments of a list in reading order, after a position.

        Nulls are the last segment, or the first one if the list is read backward.
        """
        keys = [key for key in order.keys if key.path not in order.computed]
        if not self._is_indexed(keys):
            full = _with_ranks(order, position) if position else None
            return [_Segment(order.stages({}, full, backward=backward), self._path_of(match))]
        key, last = keys
        by_keys = {"$sort": {each.path: each.direction(backward=backward) for each in keys}}

        def segment(*matches: Document) -> _Segment:
            return _Segment([{"$match": {"$and": [*matches]}}, by_keys], key.path)

        values = segment({key.path: {"$ne": None}} if key.nullable else {})
        nulls = [segment({key.path: None})] if key.nullable else []
        if position is None:
            return [*nulls, values] if backward else [values, *nulls]
        value, at = position
        equal = segment({key.path: value}, last.after(at, backward=backward) or {})
        if value is None:
            return [equal, *([values] if backward else [])]
        beyond = segment({key.path: {"$gt" if key.descending == backward else "$lt": value}})
        return [equal, beyond, *([] if backward else nulls)]

    def _is_indexed(self, keys: Sequence[SortKey]) -> bool:
        """Return True if an index has the order: a field and the id, in one direction."""
        is_one_direction = len({key.descending for key in keys}) == 1
        return len(keys) == 2 and keys[0].path in _INDEXED[self.totals.name] and is_one_direction  # noqa: PLR2004


async def rows_of_traces(
    database: Database, project_id: str, session: Session, wanted: abc.Collection[str], trace_ids: abc.Collection[str]
) -> list[Row]:
    """Return the rows, with the wanted fields, of those traces whose totals are right in a snapshot."""
    rows: list[Row] = []
    for some in batches([*trace_ids], _BATCH):
        rows += await _rows_of_batch(database, project_id, session, wanted, some)
    return rows


async def _rows_of_batch(
    database: Database, project_id: str, session: Session, wanted: abc.Collection[str], trace_ids: Sequence[str]
) -> list[Row]:
    keys = [total_key(project_id, each)["_id"] for each in trace_ids]
    of_these = {"project_id": project_id, "_id": {"$in": keys}}
    shown = {"_id": 0} | dict.fromkeys((*_HEAD["trace_totals"], "hours", *wanted), 1)
    totals: Stages = [{"$match": of_these}, {"$project": shown}]
    a_crowded_one = {"$match": {"project_id": project_id, "_id": crowded_hours(project_id)}}
    crowded: Stages = [a_crowded_one, {"$limit": 1}, {"$project": {"_id": 1}}]
    union = [
        {"$unionWith": {"coll": database.trace_totals.name, "pipeline": pipeline}} for pipeline in (totals, crowded)
    ]
    marks, found = await read_marks(database, [project_id], session, union)
    coverage = Coverage.of_marks(project_id, DimensionMatch(), marks[project_id])
    if coverage is None or any("_id" in row for row in found):
        return []
    rows = [row for row in found if coverage.live_hours.isdisjoint(hours := row.pop("hours")) and ALWAYS not in hours]
    if rows and (live := coverage.live):
        # One range bounds what MongoDB reads of the index by trace; the alternatives decide.
        within = {"started_at": {"$gte": min(coverage.live_hours), "$lt": max(coverage.live_hours) + HOUR}}
        calls = {"project_id": project_id, "visible": True, "trace_id": {"$in": [row["trace_id"] for row in rows]}}
        stages: Stages = [{"$match": {**calls, **within, "$or": live}}, {"$group": {"_id": "$trace_id"}}]
        changed = database.calls.aggregate(stages, session=session, **index_hint(database.calls, BY_TRACE))
        live_traces = {row["_id"] async for row in changed}
        rows = [row for row in rows if row["trace_id"] not in live_traces]
    if rows and TOTAL_COST in wanted:
        stored = next((mark["prices"] for mark in marks[project_id] if "prices" in mark), None)
        try:
            prices = await _changed_prices(database, project_id, stored)
        except BadInputError:  # the project has too many prices; those of the models of a few traces may do
            return []
        if prices:
            of_cost = {"_id": 0, "trace_id": 1} | dict.fromkeys(_OF_COST, 1)
            sums = {
                total.pop("trace_id"): total
                async for total in database.trace_totals.find(of_these, of_cost, session=session)
            }
            rows = [each for row in rows if _set_cost(each := row | sums[row["trace_id"]], prices)]
    return rows


def _set_cost(row: Row, prices: Prices | None) -> bool:
    """Set the cost of a row at prices that it is not yet at; False if only its calls tell it."""
    if prices:
        try:
            row[TOTAL_COST] = cost_of(row, prices)
        except LookupError:
            return False
        for name in _OF_COST:
            del row[name]
    return True


async def _changed_prices(database: Database, project_id: str, stored: str | None) -> Prices | None:
    """Return the current prices, unless the stored costs are at these."""
    version, prices = await versioned_prices_of(database, project_id)
    return None if stored == version else prices


def _with_ranks(order: Order, position: Sequence[object]) -> list[object]:
    """Return a position with the values of computed keys, which rank nulls last."""
    rest = [*position]
    return [int(rest[0] is None) if key.path in order.computed else rest.pop(0) for key in order.keys]
