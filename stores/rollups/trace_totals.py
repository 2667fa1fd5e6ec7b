"""Stored totals of traces: one document per trace, exact to the last acknowledged write by marks of changed hours.

A total has the fields by which `stores.trace_lists` sorts, by the same names, the `id` of the head, and the `firsts` of
`FIRST_COLUMNS`. `first` and `last` are the starts of the first and the last call. `usage` has the sums of the own usage
of all calls, an entry per model as calls have it, with `least` and `most`, the least and most tokens that select a
tier. So a new price needs no calls. `hours` are those in which calls start.

A total is right unless one of its hours is marked, or a call of the trace starts in a marked hour. The work that
settles an hour (`stores.rollups.settling`) also computes the totals of its traces: of those with calls in the hour, and
of those that had some. It stores them in the transaction that removes the mark.

A trace may have calls in several hours, which two workers may settle at once. Therefore each transaction changes
`totals` of the project's state, and computes again if another one has changed it since the calls were read. Otherwise
the slower worker would replace a total by an older one after the mark of a write in the other hour is gone.

`turns` are those calls of the trace that are turns of threads. If they are too many, each thread is listed once,
`without_times`: it has no total. A transaction that changes turns, or values that threads sum up, also lists these
threads as due (`stores.rollups.thread_totals`).

`pricing` of the state names the prices at which totals are computed, and `prices` those at which all totals are. If
these are not the current ones, queries compute costs from `usage`. `pricing_id` is new whenever `pricing` changes: a
slow worker must also notice if earlier prices have returned. `priced_to` is the key up to which costs are computed.
"""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import bson
from pymongo import InsertOne, ReplaceOne, UpdateOne

from stores import ids
from stores.costs import Prices
from stores.costs.price_timeline import tier_tokens
from stores.costs.pricing import sum_of_costs
from stores.costs.project_prices import versioned_prices_of
from stores.costs.usage_tree import ALWAYS_READ, USAGE_READ, OwnUsage, own_usage_of_trace
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.indexes import index_by
from stores.database.paced_steps import WorkSteps, key_range, weighted_batches
from stores.database.scan_order import index_hint
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.hours import HOUR, hour_expression, hour_of, state_key
from stores.json.bson_copy import INT64
from stores.query.text_expressions import Expression
from stores.rollups.documents import VALUES
from stores.rollups.parents import BY_START
from stores.usage.classes import added
from stores.usage.entries import SUM, UNCLEAR, Usage
from stores.usage.own import COUNTS

Stages = list[dict[str, Any]]

ALWAYS: Final = 1
"""Member of `hours` that is no hour: no query reads the total, and one without `trace_id` stands for all totals."""

MANY_THREADS: Final = 2
"""Member of `hours` that is no hour: `turns` are missing, and no query reads totals of threads."""

WITHOUT_TIMES: Final = "without_times"
"""Field of a trace with too many turns: True if `turns` names each thread once, without times.

Such a thread has no total.
"""

MAX_TURNS: Final = 1_000
"""Turns of a trace that lists them with their times, and of a thread that has a total."""

MAX_TURN_BYTES: Final = 50_000
"""Maximum bytes of turns with their times; thread ids may be long."""

MAX_THREADS: Final = 10_000
"""Maximum threads that a trace lists without times.

With more, a query would read all threads from calls anyway (`MAX_STALE`).
"""

MAX_THREAD_BYTES: Final = 1_000_000
"""Maximum bytes of such a list of threads."""

MAX_TRACES_OF_HOUR: Final = 20_000
"""Traces of an hour whose totals one transaction writes; with more, no query reads totals."""

MAX_TURNS_OF_HOUR: Final = 100_000
"""Turns of these traces; with more, no query reads totals."""

MAX_CALLS: Final = 100_000
"""Calls of a trace that has a total."""

MAX_COLLECTED: Final = 1_000
"""Calls of a trace whose usage and parents MongoDB collects; a trace with more is read as a tree."""

MAX_MODELS: Final = 300
"""Models of a trace that has a total."""

MAX_TOTAL_BYTES: Final = 50_000
"""Size of a total; model names may be long."""

MAX_BYTES: Final = 32_000_000
"""Size of the usage of calls that are read together, of a trace that has a total, and of the totals of an hour."""

FIRST_COLUMNS: Final = ("user_id", "thread_id", "tags", "environment", "release")
"""Fields of traces that come from the first call that has a value: the head if it has one."""

HEAD_COLUMNS: Final = {
    "name": "trace_name",
    "kind": "kind",
    "status": "status",
    "started_at": "started_at",
    "ended_at": "ended_at",
    "latency_ms": "latency_ms",
}
"""Paths of the fields of traces that are columns of their head, by name."""

FIRSTS: Final = "firsts"
"""Field of a total with those of `FIRST_COLUMNS` that have a value."""

STATE_FIELDS: Final = ("totals", "pricing", "pricing_id", "prices", "priced_to", "threads")
"""Fields of a project's state, which totals need."""

NUM_CALLS: Final = "num_calls"
NUM_ERRORS: Final = "num_errors"
TOTAL_TOKENS: Final = "total_tokens"
TOTAL_COST: Final = "total_cost"
USAGE: Final = {TOTAL_TOKENS, TOTAL_COST}
NEEDS_TREE: Final = "_needs_tree"

RANK: Final = {"rank": {"$cond": [{"$gt": ["$parent_id", None]}, 1, 0]}, "started_at": "$started_at", "id": "$id"}
"""Fields by which the calls of a trace are compared: those without a parent come first, then the oldest."""

_COUNTS: Final = {NUM_CALLS: VALUES["count"], NUM_ERRORS: VALUES["error_count"]}
_CROWDED: Final = "#"
"""Character after the project in the key of an hour with too many traces; no key of a total has it."""

_UNCLEAR: Final = "_unclear"
_PARENTS: Final = "_parents"
_SIZE: Final = "size"
_BATCH: Final = 500
_MAX_LISTED: Final = 100
"""Threads of a list of those that are due; one transaction computes them."""

_MAX_COLLECTED_BYTES: Final = 4_000
"""Size of a call's usage that MongoDB collects, so that a group stays below 16 MiB."""

MAX_TREES: Final = 2_000
"""Traces that are read as trees together."""

_THREADS_ARE_DUE: Final = {"$currentDate": {"live_until": True}}
"""Change of a project's state that lets a worker compute totals of threads."""

_TURN: Final = {"thread": "$turn_of", "started_at": "$started_at", "ended_at": "$ended_at"}

BY_TRACE: Final = index_by("calls", "project_id", "visible", "trace_id")
BY_HOUR: Final = index_by("trace_totals", "project_id", "hours")


def head_of_trace(columns: Iterable[str] = ()) -> Expression:
    """Build the accumulator of the head of a group's calls, with columns of it.

    The head represents its trace: it is the root, or the oldest call if the root is missing.
    """
    return {"$min": RANK | {name: f"${HEAD_COLUMNS[name]}" for name in columns}}


def first_values() -> dict[str, Expression]:
    """Build the accumulators of `FIRST_COLUMNS` in a group's calls; `values_of_firsts` reads their results."""
    return {
        name: {"$min": {"$cond": [{"$gt": [f"${name}", None]}, {**RANK, "value": f"${name}"}, None]}}
        for name in FIRST_COLUMNS
    }


def values_of_firsts(row: Document) -> Document:
    """Return those of `FIRST_COLUMNS` that have a value in a row of `first_values`."""
    return {name: row[name]["value"] for name in FIRST_COLUMNS if row[name]}


def sum_stages(wanted: Iterable[str], prices: Prices | None, *, has_unclear: bool) -> Stages:
    """Build the stages that group calls by trace; usage is right unless the trace has `NEEDS_TREE`.

    That is so if a call with unclear usage has children, which may have reported the same usage.
    """
    wanted = {*wanted}
    is_sum = {"$eq": ["$usage_scope", SUM]}
    sums: dict[str, Any] = {
        "head": head_of_trace(name for name in HEAD_COLUMNS if name in wanted),
        **{name: _COUNTS[name] for name in _COUNTS if name in wanted},
    }
    if not USAGE.isdisjoint(wanted):
        sums |= {
            NUM_CALLS: _COUNTS[NUM_CALLS],
            TOTAL_TOKENS: {"$sum": {"$cond": [is_sum, 0, {"$sum": "$usage.total_tokens"}]}},
        }
    stages: Stages = [{"$group": {"_id": "$trace_id"} | sums}]
    if has_unclear:
        is_unclear = {"$eq": ["$usage_scope", UNCLEAR]}
        stages[0]["$group"] |= {
            _UNCLEAR: _some({"$cond": [is_unclear, "$id", None]}),
            _PARENTS: _some("$parent_id"),
        }
        too_many = {"$gt": ["$num_calls", MAX_COLLECTED]}
        unclear_parents = {"$setIntersection": [{"$setDifference": [f"${_UNCLEAR}", [None]]}, f"${_PARENTS}"]}
        stages += [
            {"$set": {NEEDS_TREE: {"$or": [too_many, {"$ne": [unclear_parents, []]}]}}},
            {"$unset": [_UNCLEAR, _PARENTS]},
        ]
    if prices:
        cost = {"$cond": [is_sum, None, prices.call_cost_expression()]}
        stages[0]["$group"] |= {TOTAL_COST: {"$sum": cost}}
        # The sum of nulls alone is the integer 0.
        is_priced = {"$eq": [{"$type": f"${TOTAL_COST}"}, "decimal"]}
        stages.append({"$set": {TOTAL_COST: {"$cond": [is_priced, {"$toDouble": f"${TOTAL_COST}"}, None]}}})
    return stages


def _some(value: Expression) -> Expression:
    """Build the accumulator of a value of each call, up to the limit."""
    return {"$firstN": {"n": MAX_COLLECTED, "input": value}}


def _stages_of_totals() -> Stages:
    """Build the stages that group calls by trace, with all that a total needs unless it needs a tree."""
    stages = sum_stages({*HEAD_COLUMNS, *_COUNTS}, None, has_unclear=True)
    of_call = {"at": "$started_at", "usage": "$usage"}
    size, limit = {"$bsonSize": {"usage": "$usage"}}, _MAX_COLLECTED_BYTES
    has_usage = {"$and": [{"$isArray": "$usage"}, {"$ne": ["$usage_scope", SUM]}, {"$lte": [size, limit]}]}
    stages[0]["$group"] |= {
        **first_values(),
        _SIZE: {"$sum": size},
        "largest": {"$max": size},
        "usage": _some({"$cond": [has_usage, of_call, None]}),
        "first": {"$min": "$started_at"},
        "last": {"$max": "$started_at"},
        "hours": {"$addToSet": hour_expression("$started_at")},
        # Without nulls. It does not matter which turns are left out if there are too many.
        "turns": {"$minN": {"n": MAX_TURNS + 1, "input": {"$cond": [{"$gt": ["$turn_of", ""]}, _TURN, None]}}},
    }
    needs_tree = {"$or": [f"${NEEDS_TREE}", {"$gt": ["$largest", limit]}]}
    usage = {"$filter": {"input": "$usage", "cond": {"$ne": ["$$this", None]}}}
    return [*stages, {"$set": {NEEDS_TREE: needs_tree, "usage": usage}}]


def total_key(project_id: str, trace_id: str) -> Document:
    """Return the key of a trace's total; it is short, since an index has it."""
    digest = urlsafe_b64encode(blake2b(trace_id.encode(), digest_size=12).digest()).decode()
    return {"_id": f"{project_id}:{digest}", "project_id": project_id}


def crowded_hours(project_id: str) -> Document:
    """Return the match of the keys of documents that stand for all totals of a project."""
    return {"$gt": f"{project_id}:{_CROWDED}", "$lt": f"{project_id}:{chr(ord(_CROWDED) + 1)}"}


def totals_of(project_id: str, after: str = "") -> Document:
    """Return the match for all totals of a project, or of those after a key."""
    return {"_id": key_range(project_id, after), "project_id": project_id}


def cost_of(total: Document, prices: Prices) -> float | None:
    """Return the cost of a total.

    Raises:
        LookupError: if its calls have several prices or tiers, so that only they tell.
    """
    return sum_of_costs(prices.cost_of_sum(entry, total["first"], total["last"]) for entry in total["usage"])


@dataclass(slots=True)
class HourTotals:
    """Changes of the stored totals of an hour's traces.

    Attributes:
        state: the match of the project's state as it was before the calls were read.
        totals: the totals to store.
        removed: the `_id`s of totals to delete.
        size: the bytes of `totals`.
        turns: the number of turns in them.
        partial: the `_id`s of those computed from the calls of the hour alone.
    """

    state: Document
    totals: list[Document] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    size: int = 0
    turns: int = 0
    partial: set[str] = field(default_factory=set)

    @property
    def are_too_many(self) -> bool:
        """True if one transaction must not write them."""
        return self.size > MAX_BYTES or self.turns > MAX_TURNS_OF_HOUR

    async def are_newest(self, database: Database, session: Session) -> bool:
        """Return False if a transaction has stored others since, so that these may be wrong."""
        change: Document = {"$set": {"totals": ids.new_id()}}
        if self.totals or self.removed:
            change |= _THREADS_ARE_DUE
        return bool((await database.hour_marks.update_one(self.state, change, session=session)).matched_count)

    async def write(self, database: Database, session: Session) -> None:
        """Write the totals in the transaction of `are_newest`, and mark those of threads."""
        project_id, threads = self.state["project_id"], set[str]()
        for totals in batches(self.totals, _BATCH):
            stored = await _stored(database, project_id, [total["_id"] for total in totals], session)
            for total in totals:
                if total["_id"] in self.partial and (of_all := stored.get(total["_id"])):
                    _keep_other_hours(total, of_all)
            threads.update(*(_changed_threads(stored.get(total["_id"], {}), total) for total in totals))
            # Read in this transaction, so a new total needs no upsert, which costs more than an insertion.
            writes: list[Any] = [
                ReplaceOne({"_id": total["_id"], "project_id": total["project_id"]}, total)
                if total["_id"] in stored
                else InsertOne(total)
                for total in totals
            ]
            await database.trace_totals.bulk_write(writes, ordered=False, session=session)
        for keys in batches(self.removed, _BATCH):
            threads.update(*map(_threads, (await _stored(database, project_id, keys, session)).values()))
            await database.trace_totals.delete_many({"_id": {"$in": keys}, "project_id": project_id}, session=session)
        await _mark_threads(database, project_id, threads, session)


async def _stored(database: Database, project_id: str, keys: Sequence[str], session: Session) -> dict[str, Document]:
    """Return the hours and the threads of stored totals of traces, by key."""
    match = {"_id": {"$in": keys}, "project_id": project_id}
    shown = dict.fromkeys(("hours", "turns.thread", WITHOUT_TIMES), 1)
    found = database.trace_totals.find(match, shown, session=session)
    return {total["_id"]: total async for total in found}


def _threads(total: Document) -> set[str]:
    return {turn["thread"] for turn in total.get("turns", ())}


def _changed_threads(before: Document, total: Document) -> set[str]:
    """Return the threads whose totals a total of a trace may change; threads without times had and have none."""
    threads = _threads(before), _threads(total)
    have_none = WITHOUT_TIMES in before and WITHOUT_TIMES in total
    return set.symmetric_difference(*threads) if have_none else set.union(*threads)


def _without_times(threads: Iterable[str]) -> list[Document]:
    return [{"thread": thread} for thread in sorted(threads)]


def _keep_other_hours(total: Document, stored: Document) -> None:
    """Let a document that was computed from the calls of one hour keep the hours and threads of the stored one.

    If that one says that turns are missing, they still are: this hour has only some of them.
    """
    threads = _threads(stored) | _threads(total)
    total.pop("turns", None)
    total |= _turns(_without_times(threads), {*stored["hours"], *total["hours"]})


def _turns(turns: Sequence[Document], hours: Iterable[int]) -> Document:
    """Return the field `hours` of a total, and those of its turns."""
    hours = {*hours}
    if not _are_few(turns, MAX_THREADS, MAX_THREAD_BYTES):
        hours.add(MANY_THREADS)
    fields: Document = {"hours": sorted(hours)}
    if turns and MANY_THREADS not in hours:
        fields |= {"turns": [*turns]} | ({} if "started_at" in turns[0] else {WITHOUT_TIMES: True})
    return fields


def _are_few(turns: Sequence[Document], max_number: int, max_bytes: int) -> bool:
    return len(turns) <= max_number and (not turns or len(bson.encode({"turns": turns})) <= max_bytes)


async def _mark_threads(database: Database, project_id: str, threads: Iterable[str], session: Session) -> None:
    """Let the totals of threads be computed again, since those of their traces change in this transaction."""
    lists = [
        {"_id": f"{project_id}:{ids.new_id()}", "project_id": project_id, "threads": some}
        for some in batches(sorted(threads), _MAX_LISTED)
    ]
    if lists:
        await database.due_threads.insert_many(lists, session=session)


class TotalsWriter:
    """The work on the totals of a project."""

    def __init__(self, database: Database, project_id: str) -> None:
        self._database, self._project_id = database, project_id
        self._state = state_key(project_id)
        self._visible = {"project_id": project_id, "visible": True}

    async def of_hour(self, hour: int) -> HourTotals | None:
        """Compute the totals of the traces that have calls in an hour, or had some when they were stored.

        None if the project has no state: it was purged.
        """
        state = await self._database.hour_marks.find_one(self._state)
        if state is None:
            return None
        at_these, prices = await self._current_prices(state)
        found = HourTotals({**at_these, "totals": state.get("totals")})
        crowded = {
            "_id": f"{self._project_id}:{_CROWDED}{hour}",
            "project_id": self._project_id,
            "hours": [ALWAYS, hour],
        }
        in_hour = {**self._visible, "started_at": {"$gte": hour, "$lt": hour + HOUR}}
        with_hour = {"project_id": self._project_id, "hours": hour}
        by_hour = index_hint(self._database.trace_totals, BY_HOUR)
        stored = self._database.trace_totals.find(with_hour, {"trace_id": 1}, **by_hour)
        others = {total["_id"]: total.get("trace_id") async for total in stored}
        known = {*others}
        number = 0
        async for rows in self._grouped(in_hour, BY_START):
            number += len(rows)
            if number > MAX_TRACES_OF_HOUR or found.are_too_many:
                return HourTotals(found.state, [crowded])
            for row in rows:
                others.pop(total_key(self._project_id, row["_id"])["_id"], None)
            elsewhere = await self._count_elsewhere([row["_id"] for row in rows], hour)
            numbers = {row["_id"]: row[NUM_CALLS] + elsewhere.get(row["_id"], 0) for row in rows}
            large = {row["_id"]: row["turns"] for row in rows if numbers[row["_id"]] > MAX_CALLS}
            whole = [row for row in rows if row["_id"] not in elsewhere and row[NUM_CALLS] <= MAX_CALLS]
            partial = [self._without_total(trace_id, [hour], turns) for trace_id, turns in large.items()]
            found.partial.update(total["_id"] for total in partial)
            totals = [
                *await self._totals(whole, prices),
                *await self._totals_of([*elsewhere.keys() - large.keys()], prices),
                *partial,
            ]
            await self._add(found, totals, known)
        for gone in batches([*others.items()], _BATCH):
            totals = await self._totals_of([trace_id for _, trace_id in gone if trace_id is not None], prices)
            await self._add(found, totals, known)
            found.removed += {key for key, _ in gone} - {total["_id"] for total in totals}
            if found.are_too_many:
                break
        return HourTotals(found.state, [crowded]) if found.are_too_many else found

    async def _add(self, found: HourTotals, totals: Sequence[Document], known: set[str]) -> None:
        """Add the totals, without those that equal a known stored one."""
        keys = [total["_id"] for total in totals if total["_id"] in known]
        stored: dict[str, Document] = {}
        if keys:
            match = {"_id": {"$in": keys}, "project_id": self._project_id}
            stored = {total["_id"]: total async for total in self._database.trace_totals.find(match)}
        changed = [total for total in totals if total != stored.get(total["_id"])]
        found.totals += changed
        found.size += sum(len(bson.encode(total)) for total in changed)
        found.turns += sum(len(total.get("turns", ())) for total in changed)

    async def _count_elsewhere(self, trace_ids: Sequence[str], hour: int) -> dict[str, int]:
        """Count the calls outside of an hour by trace, for traces that have some; reads only an index."""
        of_traces = {**self._visible, "trace_id": {"$in": [*trace_ids]}}
        outside = [{**of_traces, "started_at": each} for each in ({"$lt": hour}, {"$gte": hour + HOUR})]
        stages: Stages = [
            {"$match": {"$or": outside}},
            {"$project": {"_id": 0, "trace_id": 1}},
            {"$group": {"_id": "$trace_id", "number": {"$sum": 1}}},
        ]
        rows = self._database.calls.aggregate(stages, **index_hint(self._database.calls, BY_TRACE))
        return {row["_id"]: row["number"] async for row in rows}

    async def _grouped(
        self, match: Document, index: str, session: Session | None = None
    ) -> AsyncIterator[list[Document]]:
        """Yield the rows of the traces of calls that match and that an index finds, in batches."""
        calls, stages = self._database.calls, [{"$match": match}, *_stages_of_totals()]
        by_index = index_hint(calls, index)
        rows = calls.aggregate(stages, session=session, allowDiskUse=True, batchSize=_BATCH, **by_index)
        batch: list[Document] = []
        size = 0
        async for row in rows:
            if isinstance(row["_id"], str):  # other programs may have stored calls without a trace
                if not _are_few(row["turns"], MAX_TURNS, MAX_TURN_BYTES):
                    row["turns"] = await self._read_threads({**match, "trace_id": row["_id"]}, session)
                batch.append(row)
                size += row[_SIZE]
            if len(batch) == _BATCH or size > MAX_BYTES:
                yield batch
                batch, size = [], 0
        yield batch

    async def _read_threads(self, match: Document, session: Session | None) -> list[Document]:
        """Return up to `MAX_THREADS` + 1 threads of some calls of a trace, as turns without times."""
        calls = self._database.calls
        stages: Stages = [
            {"$match": {**match, "turn_of": {"$gt": ""}}},
            {"$group": {"_id": "$turn_of"}},
            {"$limit": MAX_THREADS + 1},
        ]
        rows = calls.aggregate(stages, session=session, allowDiskUse=True, **index_hint(calls, BY_TRACE))
        return _without_times([row["_id"] async for row in rows])

    def _calls_of(self, trace_ids: Iterable[str]) -> Document:
        """Return the match for the calls of traces, without those that other programs stored without a time."""
        return {**self._visible, "trace_id": {"$in": [*trace_ids]}, "started_at": {"$type": "number"}}

    async def _totals_of(
        self, trace_ids: Sequence[str], prices: Prices | None, session: Session | None = None
    ) -> list[Document]:
        """Compute the totals of those traces that have calls."""
        totals: list[Document] = []
        if trace_ids:
            async for rows in self._grouped(self._calls_of(trace_ids), BY_TRACE, session):
                totals += await self._totals(rows, prices, session)
        return totals

    async def _totals(
        self, rows: Sequence[Document], prices: Prices | None, session: Session | None = None
    ) -> list[Document]:
        """Compute the totals of whole traces from their rows."""
        usage: dict[str, OwnUsage | None] = {
            row["_id"]: None
            if row[NEEDS_TREE]
            else [(call["at"], each) for call in row["usage"] for each in call["usage"]]
            for row in rows
        }
        trees = [row for row in rows if row[NEEDS_TREE] and row[NUM_CALLS] <= MAX_CALLS and row[_SIZE] <= MAX_BYTES]
        for by_calls in weighted_batches(trees, NUM_CALLS, MAX_CALLS, MAX_TREES):
            for some in weighted_batches(by_calls, _SIZE, MAX_BYTES):
                usage |= await self._usage_of_trees({row["_id"]: row for row in some}, session)
        return [
            self._total(row, usage[row["_id"]], prices) or self._without_total(row["_id"], _hours(row), row["turns"])
            for row in rows
        ]

    async def _usage_of_trees(
        self, trees: Mapping[str, Document], session: Session | None
    ) -> dict[str, OwnUsage | None]:
        """Return the own usage of the calls of each trace; None if there are too many models.

        Adds the hours of these calls to the rows of the traces: some may be new since these were read, and a total
        must name all hours of which it has usage.
        """
        shown = {"_id": 0} | dict.fromkeys((*ALWAYS_READ, *USAGE_READ, "trace_id"), 1)
        by_age = {"trace_id": 1, "started_at": 1, "id": 1}
        stages: Stages = [{"$match": self._calls_of(trees)}, {"$sort": by_age}, {"$project": shown}]
        calls: dict[str, list[Document]] = {trace_id: [] for trace_id in trees}
        by_trace = index_hint(self._database.calls, BY_TRACE)
        rows = self._database.calls.aggregate(stages, session=session, batchSize=_BATCH, **by_trace)
        while batch := await rows.to_list(_BATCH):
            for call in batch:
                calls[call["trace_id"]].append(call)
        usage: dict[str, OwnUsage | None] = dict.fromkeys(trees)
        for trace_id, of_trace in calls.items():
            trees[trace_id]["hours"] += {hour_of(call["started_at"]) for call in of_trace}
            with suppress(BadInputError):
                usage[trace_id] = await own_usage_of_trace(of_trace)
        return usage

    def _total(self, row: Document, usage: OwnUsage | None, prices: Prices | None) -> Document | None:
        """Return the total of a trace; None without its usage, or if it has too many models or tokens to be stored."""
        if usage is None:
            return None
        entries: dict[str, Document] = {}
        for _, entry in usage:
            _add_entry(entries, entry)
            if len(entries) > MAX_MODELS:
                return None
        cost = sum_of_costs(prices.exact_cost(entry, started_at) for started_at, entry in usage) if prices else None
        for entry in entries.values():
            if max(*(entry[name] for name in COUNTS), *entry.get("classes", {}).values()) >= INT64:
                return None
        head = {name: value for name, value in row["head"].items() if name != "rank" and value is not None}
        tokens = sum(entry[TOTAL_TOKENS] for entry in entries.values())
        total = {
            **total_key(self._project_id, row["_id"]),
            "trace_id": row["_id"],
            **head,
            NUM_CALLS: row[NUM_CALLS],
            NUM_ERRORS: row[NUM_ERRORS],
            TOTAL_TOKENS: min(tokens, INT64 - 1),
            **({} if cost is None else {TOTAL_COST: cost}),
            "first": row["first"],
            "last": row["last"],
            "usage": [entries[model] for model in sorted(entries)],
            "hours": _hours(row),
        }
        if firsts := values_of_firsts(row):
            total[FIRSTS] = firsts
        return total | _turns(row["turns"], total["hours"]) if len(bson.encode(total)) <= MAX_TOTAL_BYTES else None

    def _without_total(self, trace_id: str, hours: Iterable[int], turns: Sequence[Document]) -> Document:
        """Return the document of a trace that every query reads from its calls."""
        key = total_key(self._project_id, trace_id)
        return {**key, "trace_id": trace_id, **_turns(turns, [ALWAYS, *hours])}

    async def _current_prices(self, state: Document) -> tuple[Document, Prices | None]:
        """Let totals be computed at the current prices; return the match of the state meanwhile, and the prices.

        None if they are too many.
        """
        try:
            version, prices = await versioned_prices_of(self._database, self._project_id)
        except BadInputError:
            version, prices = None, None
        if "pricing" not in state or state["pricing"] != version:
            other: Document = {"pricing": {"$ne": version}}
            change: Document = {"$set": {"pricing": version, "pricing_id": ids.new_id()}}
            if "pricing" not in state:  # there are no totals yet
                other = {"pricing": {"$exists": False}}
                change["$set"]["prices"] = version
            else:
                change["$unset"] = {"prices": "", "priced_to": ""}
            await self._database.hour_marks.update_one({**self._state, **other}, change)
            state = await self._database.hour_marks.find_one(self._state) or state
        return {**self._state, "pricing": version, "pricing_id": state.get("pricing_id")}, prices

    async def price_again(self) -> WorkSteps:
        """Compute the costs of all totals again in steps, unless they are computed at the current prices.

        The work continues where it ended before.
        """
        state = await self._database.hour_marks.find_one({**self._state, "ready": True})
        if state is None:
            return
        at_these, prices = await self._current_prices(state)
        pricing = at_these["pricing"]
        if prices and not await self._database.hour_marks.find_one({**at_these, "prices": pricing}):
            while await self._price_batch(at_these, prices):
                yield
        is_undone = {"prices": {"$ne": pricing}}
        await self._database.hour_marks.update_one({**at_these, **is_undone}, {"$set": {"prices": pricing}})

    async def _price_batch(self, at_these: Document, prices: Prices) -> bool:
        """Compute the costs of the next totals; False if there are none, or another worker has other prices."""
        marks = self._database.hour_marks

        async def price(session: Session) -> bool:
            state = await marks.find_one(at_these, session=session)
            if state is None:
                return False
            match = {**totals_of(self._project_id, state.get("priced_to", "")), "usage": {"$exists": True}}
            shown = dict.fromkeys(("trace_id", NUM_CALLS, "usage", "first", "last", TOTAL_COST), 1)
            found = self._database.trace_totals.find(match, shown, session=session).sort("_id", 1).limit(_BATCH)
            totals: list[Document] = []
            costs, by_call, num_calls = dict[str, float | None](), dict[str, str](), 0
            for total in await found.to_list(None):
                try:
                    costs[total["_id"]] = cost_of(total, prices)
                except LookupError:
                    num_calls += total[NUM_CALLS]
                    if by_call and num_calls > MAX_CALLS:
                        break
                    by_call[total["trace_id"]] = total["_id"]
                totals.append(total)
            if not totals:
                return False
            for total in await self._totals_of([*by_call], prices, session):
                costs[total["_id"]] = total.get(TOTAL_COST)
            changed = [
                total for total in totals if total["_id"] in costs and total.get(TOTAL_COST) != costs[total["_id"]]
            ]
            writes = [
                UpdateOne({"_id": total["_id"], "project_id": self._project_id}, _cost_change(costs[total["_id"]]))
                for total in changed
            ]
            if writes:
                await self._database.trace_totals.bulk_write(writes, ordered=False, session=session)
                threads = await self._threads_with_times([total["_id"] for total in changed], session)
                await _mark_threads(self._database, self._project_id, threads, session)
            # Always a change, so that of two workers at different prices one starts again.
            change = {"$set": {"priced_to": totals[-1]["_id"]}, **_THREADS_ARE_DUE}
            await marks.update_one(at_these, change, session=session)
            return True

        return await self._database.transaction(price)

    async def _threads_with_times(self, keys: Sequence[str], session: Session) -> list[str]:
        """Return the threads of which some totals list turns with their times; others have no total."""
        stages: Stages = [
            {"$match": {"_id": {"$in": keys}, "project_id": self._project_id, WITHOUT_TIMES: None}},
            {"$unwind": "$turns"},
            {"$group": {"_id": "$turns.thread"}},
        ]
        return [row["_id"] async for row in self._database.trace_totals.aggregate(stages, session=session)]


def _hours(row: Document) -> list[int]:
    return sorted({*row["hours"]})


def _cost_change(cost: float | None) -> Document:
    return {"$unset": {TOTAL_COST: ""}} if cost is None else {"$set": {TOTAL_COST: cost}}


def _add_entry(entries: dict[str, Document], entry: Usage) -> None:
    """Add a usage entry of a call to the sums by model."""
    tokens, classes = tier_tokens(entry), entry.get("classes", {})
    same = entries.get(entry["model"])
    if same is None:
        counts = {name: entry[name] for name in COUNTS}
        same = {"model": entry["model"], **counts, "least": tokens, "most": tokens}
    else:
        same |= {name: same[name] + entry[name] for name in COUNTS}
        same |= {"least": min(same["least"], tokens), "most": max(same["most"], tokens)}
    if sums := added(same.get("classes", {}), classes):
        same["classes"] = {name: sums[name] for name in sorted(sums)}
    entries[entry["model"]] = same
