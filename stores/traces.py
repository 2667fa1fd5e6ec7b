"""Store of traces: all reads of traces within one project. Traces are derived from calls."""

from collections import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.calls.computed_fields import calls_by_keys
from stores.calls.fields import calls_match
from stores.calls.list_query import calls_by
from stores.concurrency.time_slices import cooperative
from stores.costs.store import prices_of_models
from stores.costs.usage_tree import ALWAYS_READ, USAGE_READ, check_depth, in_tree_order, models_of, usage_of_trace
from stores.database import Collection, Database, database_query
from stores.database.driver import all_rows
from stores.database.transactions import Session
from stores.document_list import OLDEST_FIRST
from stores.errors import BadInputError
from stores.feedback import FeedbackStore, feedback_of_types
from stores.feedback.inputs import FEEDBACK_FIELDS
from stores.ids import check_project_id, check_trace_id, group_by_project
from stores.paging import Order, Page, PageRequest, Row, SortKey, build_page, decode_cursor, scope_of
from stores.query.sort import compile_sort
from stores.relations import OneToMany
from stores.rollups.total_reads import rows_of_traces
from stores.rollups.trace_totals import (
    FIRSTS,
    HEAD_COLUMNS,
    TOTAL_COST,
    TOTAL_TOKENS,
    first_values,
    head_of_trace,
    values_of_firsts,
)

MAX_CALLS: Final = 100_000
"""Calls of all traces in one request for trees or usage."""

TraceKey = tuple[str, str]
"""A project and a trace id."""

_BY_AGE: Final = {"started_at": 1, "id": 1}

USAGE: Final = "usage"
COST: Final = frozenset({"cost", "unpriced_tokens"})
TOKENS_AND_COST: Final = frozenset({USAGE, "cost"})
CALLS_AND_ERRORS: Final = frozenset({"num_calls", "num_errors"})

ACCUMULATORS: Final[dict[str, dict[str, Any]]] = {
    "num_calls": {"$sum": 1},
    "num_errors": {"$sum": {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}},
    "num_running": {"$sum": {"$cond": [{"$eq": ["$status", "running"]}, 1, 0]}},
    "started_at": {"$min": "$started_at"},
    "ended_at": {"$max": "$ended_at"},
}

_INPUTS: Final = {"duration_ms": {"started_at", "ended_at"}}

NO_CALLS: Final[Row] = {"num_calls": 0, "num_errors": 0, "num_running": 0}

TREE_FIELDS: Final = ("id", "parent_id", "trace_id", "started_at")
"""Fields from which the tree is built."""

USAGE_FIELDS: Final = (*TREE_FIELDS, *ALWAYS_READ, *USAGE_READ)
"""Fields from which the usage of a trace is computed."""

_TREE_ORDER: Final = Order({}, (SortKey("position"), SortKey("id")))


class TracesStore:
    """Traces, derived from the visible calls in MongoDB; a trace without visible calls does not exist.

    Rows are dicts with `project_id` and `trace_id`, the key to the trace's calls.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls
        self.calls = calls_by(database, "trace_id")
        """From `TraceKey` to the calls of the trace."""
        self._parentless = calls_by(
            database, "trace_id", lambda project_id: calls_match(project_id) | {"parent_id": None}
        )
        self.feedback = OneToMany(
            database,
            self._calls,
            "trace_id",
            compile_sort(OLDEST_FIRST, FEEDBACK_FIELDS),
            lambda project_id, _types: calls_match(project_id),
            FeedbackStore(database).paths_of,
            transform=self._feedback_stages,
        )
        """From `TraceKey` to the feedback on the trace's calls, oldest first.

        The argument is a set of feedback types; an empty set means all.
        """

    def _feedback_stages(self, project_id: str, types: frozenset[str]) -> Sequence[dict[str, Any]]:
        """Build the stages that replace calls by the feedback on them."""
        by_call = {"from": self.database.feedback.name, "localField": "id", "foreignField": "call_id"}
        return [
            {"$project": {"id": 1}},
            {"$lookup": {**by_call, "pipeline": [{"$match": feedback_of_types(project_id, types)}], "as": "feedback"}},
            {"$unwind": "$feedback"},
            {"$replaceRoot": {"newRoot": "$feedback"}},
        ]

    async def one(self, project_id: str, trace_id: str) -> Row | None:
        """Return a trace, or None if it has no visible call.

        Raises:
            BadInputError: if the id is not a valid trace id.
        """
        check_project_id(project_id)
        check_trace_id(trace_id, "trace_id")
        return (await self.by_keys([(project_id, trace_id)], frozenset()))[project_id, trace_id]

    @database_query
    async def by_keys(self, keys: Sequence[TraceKey], _wanted: frozenset[str]) -> dict[TraceKey, Row | None]:
        """Return each trace, or None if it has no visible call."""
        traces: dict[TraceKey, Row | None] = dict.fromkeys(keys)
        for project_id, trace_ids in group_by_project(keys):
            for trace_id in await self._calls.distinct("trace_id", _traces_match(project_id, trace_ids)):
                traces[project_id, trace_id] = {"project_id": project_id, "trace_id": trace_id}
        return traces

    @database_query
    async def roots(self, keys: Sequence[TraceKey], wanted: frozenset[str]) -> dict[TraceKey, Row | None]:
        """Return each trace's oldest call without a parent; None if no such call is visible."""
        pages = await self._parentless.pages(keys, wanted, PageRequest(size=1))
        return {each: next(iter(page.rows), None) for each, page in pages.items()}

    @database_query
    async def trees(
        self, keys: Sequence[TraceKey], wanted: frozenset[str], request: PageRequest, max_depth: int | None = None
    ) -> dict[TraceKey, Page]:
        """Return a page of each trace's calls in tree order, down to a depth; see `Tree`.

        Raises:
            BadInputError: if the depth is negative, if the cursor belongs to another tree, or if the traces have more
                than `MAX_CALLS` calls.
        """
        check_depth(max_depth)
        pages: dict[TraceKey, Page] = {}
        for project_id, trace_ids in group_by_project(keys):
            rows = await self._read(project_id, trace_ids, TREE_FIELDS)
            for trace_id, calls in rows.items():
                tree = await Tree.from_calls(project_id, trace_id, calls, max_depth)
                pages[project_id, trace_id] = tree.page(request)
            await self._add_fields(project_id, pages, trace_ids, wanted)
        return pages

    async def _add_fields(
        self, project_id: str, pages: dict[TraceKey, Page], trace_ids: Iterable[str], wanted: frozenset[str]
    ) -> None:
        """Add the selected fields to the pages' rows; drop calls that were deleted since the tree was read."""
        trace_pages = [pages[project_id, trace_id] for trace_id in trace_ids]
        rows = [row for page in trace_pages for row in page.rows]
        for row in rows:
            row["project_id"] = project_id
        if not wanted <= {*TREE_FIELDS, "project_id"}:
            selected = await calls_by_keys(self.database, [(project_id, row["id"]) for row in rows], wanted)
            for page in trace_pages:
                page.rows[:] = [row | fields for row in page.rows if (fields := selected[project_id, row["id"]])]

    @database_query
    async def count(
        self, keys: Sequence[TraceKey], limit: int | None = None, max_depth: int | None = None
    ) -> dict[TraceKey, int]:
        """Count the calls of each trace's tree down to a depth, up to `limit`."""
        check_depth(max_depth)
        if max_depth is None:
            return await self.calls.count(keys, limit)
        pages = await self.trees(keys, frozenset(), PageRequest(size=min(limit or MAX_CALLS, MAX_CALLS)), max_depth)
        return {each: len(page.rows) for each, page in pages.items()}

    @database_query
    async def totals(self, keys: Sequence[TraceKey], wanted: frozenset[str]) -> dict[TraceKey, Row]:
        """Return the selected totals of each trace; usage has prices only if `cost` or `unpriced_tokens` is selected.

        Raises:
            BadInputError: if usage is selected and the traces have more than `MAX_CALLS` calls.
        """
        totals_by_key: dict[TraceKey, Row] = {each: dict(NO_CALLS) for each in keys}
        accumulators = _count_accumulators(wanted)
        for project_id, trace_ids in group_by_project(keys):
            if accumulators:
                stages = [*calls_of_traces(project_id, trace_ids), {"$group": accumulators}]
                for row in await all_rows(self._calls, stages, len(trace_ids) + 1):
                    totals_by_key[project_id, row.pop("_id")] |= _with_duration(row)
            if USAGE in wanted:
                stored: dict[str, Row] = {}
                if wanted <= {*TOKENS_AND_COST, TOTAL_TOKENS}:
                    totals = await self._stored(project_id, trace_ids, (TOTAL_TOKENS, TOTAL_COST))
                    stored = {
                        trace_id: {TOTAL_TOKENS: total[TOTAL_TOKENS], "cost": total.get(TOTAL_COST)}
                        for trace_id, total in totals.items()
                    }
                others = [trace_id for trace_id in trace_ids if trace_id not in stored]
                for trace_id, usage in (stored | await self._usage(project_id, others, wanted)).items():
                    totals_by_key[project_id, trace_id][USAGE] = usage
        return totals_by_key

    async def _stored(self, project_id: str, trace_ids: Sequence[str], wanted: abc.Collection[str]) -> dict[str, Row]:
        """Return the wanted fields of stored totals by trace, for those traces whose totals are right."""
        async with self.database.snapshot_session([project_id]) as session:
            rows = await rows_of_traces(self.database, project_id, session, wanted, trace_ids)
            return {row["trace_id"]: row for row in rows}

    @database_query
    async def summaries(self, keys: Sequence[TraceKey]) -> dict[TraceKey, Row]:
        """Return `HEAD_COLUMNS` and `FIRST_COLUMNS` of each trace, and `CALLS_AND_ERRORS`."""
        summaries: dict[TraceKey, Row] = {each: dict(NO_CALLS) for each in keys}
        accumulators = {
            "head": head_of_trace(HEAD_COLUMNS),
            **first_values(),
            **{name: ACCUMULATORS[name] for name in CALLS_AND_ERRORS},
        }
        for project_id, trace_ids in group_by_project(keys):
            stored = await self._stored(project_id, trace_ids, (*HEAD_COLUMNS, *CALLS_AND_ERRORS, FIRSTS))
            for trace_id, total in stored.items():
                firsts = total.pop(FIRSTS, {})
                summaries[project_id, trace_id] = total | firsts
            others = [trace_id for trace_id in trace_ids if trace_id not in stored]
            if not others:
                continue
            stages = [*calls_of_traces(project_id, others), {"$group": {"_id": "$trace_id"} | accumulators}]
            for row in await all_rows(self._calls, stages, len(others) + 1):
                counts = {name: row[name] for name in CALLS_AND_ERRORS}
                summaries[project_id, row["_id"]] = row["head"] | values_of_firsts(row) | counts
        return summaries

    async def _usage(self, project_id: str, trace_ids: Sequence[str], wanted: frozenset[str]) -> dict[str, Row]:
        if not trace_ids:
            return {}
        rows = await self._read(project_id, trace_ids, USAGE_FIELDS)
        prices = None
        if not COST.isdisjoint(wanted):
            models = {model for calls in rows.values() for model in models_of(calls)}
            prices = await prices_of_models(self.database, project_id, models)
        return {trace_id: await usage_of_trace(calls, prices) for trace_id, calls in rows.items()}

    async def _read(self, project_id: str, trace_ids: Sequence[str], paths: Iterable[str]) -> dict[str, list[Row]]:
        return await read_traces(self._calls, project_id, trace_ids, paths)


async def read_traces(
    calls: Collection, project_id: str, trace_ids: Sequence[str], paths: Iterable[str], session: Session | None = None
) -> dict[str, list[Row]]:
    """Read some fields of the traces' calls from one snapshot, oldest first, grouped by trace.

    Raises:
        BadInputError: if the traces have more than `MAX_CALLS` calls.
    """
    stages: list[dict[str, Any]] = [
        *calls_of_traces(project_id, trace_ids),
        {"$limit": MAX_CALLS + 1},
        {"$project": {"_id": 0} | dict.fromkeys(paths, 1)},
    ]
    rows = await all_rows(calls, stages, MAX_CALLS + 2, session)
    if len(rows) > MAX_CALLS:
        raise BadInputError(
            f"the traces have more than {MAX_CALLS:,} calls together, the limit for trees and usage; request "
            "fewer traces, or page through the calls of one trace"
        )
    calls_by_trace: dict[str, list[Row]] = {trace_id: [] for trace_id in trace_ids}
    for row in rows:
        calls_by_trace[row["trace_id"]].append(row)
    return calls_by_trace


def calls_of_traces(project_id: str, trace_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Build the stages that find the calls of traces, the oldest of each trace first.

    The order makes MongoDB use the index of traces. Without it, it may scan all calls of a project from the newest on,
    since that finds the first calls of new traces at once.
    """
    return [{"$match": _traces_match(project_id, trace_ids)}, {"$sort": {"trace_id": 1, **_BY_AGE}}]


def _traces_match(project_id: str, trace_ids: Sequence[str]) -> dict[str, Any]:
    return calls_match(project_id) | {"trace_id": {"$in": list(trace_ids)}}


def _count_accumulators(wanted: abc.Collection[str]) -> dict[str, Any] | None:
    """Return the `$group` stage's body for the selected counts per trace; None if none is selected."""
    names = {input_ for name in wanted for input_ in _INPUTS.get(name, {name})}
    accumulators = {name: ACCUMULATORS[name] for name in ACCUMULATORS if name in names}
    return {"_id": "$trace_id", **accumulators} if accumulators else None


def _with_duration(row: Row) -> Row:
    """Add the duration in whole milliseconds to a row of counts, if a call has ended."""
    started, ended = row.get("started_at"), row.get("ended_at")
    return row if started is None or ended is None else row | {"duration_ms": (ended - started) // 1000}


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of a trace down to a depth; its rows are the calls in tree order.

    Each row has its `position` from 0, `depth`, `tree_parent_id` (the id of its parent in the tree), `num_children` and
    `num_descendants`.
    """

    rows: list[Row]
    scope: bytes

    @classmethod
    async def from_calls(cls, project_id: str, trace_id: str, calls: Sequence[Row], max_depth: int | None) -> "Tree":
        """Build the tree of calls that are sorted by start."""
        nodes = await in_tree_order(calls)
        num_descendants = dict.fromkeys(map(id, nodes), 0)
        async for node in cooperative(reversed(nodes)):
            if node.parent:
                num_descendants[id(node.parent)] += num_descendants[id(node)] + 1
        rows: list[Row] = []
        async for node in cooperative(nodes):
            if max_depth is None or node.depth <= max_depth:
                rows.append(
                    node.row
                    | {
                        "position": len(rows),
                        "depth": node.depth,
                        "num_children": len(node.children),
                        "num_descendants": num_descendants[id(node)],
                    }
                    | ({"tree_parent_id": node.parent.row["id"]} if node.parent else {})
                )
        return cls(rows, scope_of("tree", project_id, trace_id, max_depth))

    def page(self, request: PageRequest) -> Page:
        """Return a page of the calls in tree order.

        A cursor names a call and is found at its current position; if the call was deleted, at its former position.

        Raises:
            BadInputError: if the cursor belongs to another tree.
        """
        position = decode_cursor(request, self.scope, len(_TREE_ORDER.keys))
        rows = self.rows
        if position is not None:
            index, exists = self._find_position(*position)
            rows = rows[:index] if request.backward else rows[index + exists :]
        rows = rows[::-1] if request.backward else rows[request.offset :]
        return build_page(rows[: request.size + 1], request, _TREE_ORDER, self.scope)

    def _find_position(self, former_position: object, call_id: object) -> tuple[int, bool]:
        for row in self.rows:
            if row["id"] == call_id:
                return row["position"], True
        return (min(max(former_position, 0), len(self.rows)) if isinstance(former_position, int) else 0), False
