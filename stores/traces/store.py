"""The store of traces: every question that concerns them, each within one project. Calls make them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from stores.aggregates.usage_tree import ALWAYS_READ, USAGE_READ, models_of, usage_of_trace
from stores.calls.computed_fields import add_computed_fields
from stores.calls.documents import key
from stores.calls.fields import paths_of
from stores.calls.filters import calls_match
from stores.calls.relations import calls_by
from stores.costs.store import prices_of_models
from stores.database import Database, database_query
from stores.database.error_translation import translate_index_build_error
from stores.database.snapshot_reads import all_rows
from stores.errors import BadInputError
from stores.ids import check_project_id, check_trace_id, group_by_project
from stores.paging import Page, PageRequest, Row
from stores.traces import totals
from stores.traces.tree import LIGHT, Tree

MAX_CALLS: Final = 100_000
"""Of all traces together whose trees, or usage, are asked for at once."""

Key = tuple[str, str]
"""A project and the id of a trace."""

_OLDEST_FIRST: Final = {"started_at": 1, "id": 1}
_ROOTS: Final = {"parent_id": None}


class TracesStore:
    """Traces, as the visible calls in MongoDB make them: what has no visible call is no trace.

    Rows are dicts of what leads on to their calls: `project_id` and `trace_id`.
    """

    def __init__(self, database: Database, max_calls: int = MAX_CALLS) -> None:
        self.database = database
        self._calls = database.calls
        self._max_calls = max_calls
        self.calls = calls_by(database, "trace_id")
        """From a project and the id of a trace to its calls."""
        self._parentless = calls_by(database, "trace_id", lambda project_id: calls_match(project_id) | _ROOTS)

    @database_query
    async def one(self, project_id: str, trace_id: str) -> Row | None:
        """A trace, or None where no call of it is visible.

        Raises:
            BadInputError: the id can be no trace's.
        """
        check_project_id(project_id)
        check_trace_id(trace_id, "trace_id")
        return (await self._existing([(project_id, trace_id)]))[project_id, trace_id]

    @database_query
    async def by_keys(self, keys: Sequence[Key], _wanted: frozenset[str]) -> dict[Key, Row | None]:
        """For each project and id the trace, or None where no call of it is visible."""
        return await self._existing(keys)

    async def _existing(self, keys: Sequence[Key]) -> dict[Key, Row | None]:
        found: dict[Key, Row | None] = dict.fromkeys(keys)
        for project_id, trace_ids in group_by_project(keys):
            for trace_id in await self._calls.distinct("trace_id", _of_traces(project_id, trace_ids)):
                found[project_id, trace_id] = {"project_id": project_id, "trace_id": trace_id}
        return found

    @database_query
    async def roots(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, Row | None]:
        """For each trace the oldest of its calls without a parent; None where none is visible."""
        pages = await self._parentless.pages(keys, wanted, PageRequest(size=1))
        return {each: next(iter(page.rows), None) for each, page in pages.items()}

    @database_query
    async def trees(
        self, keys: Sequence[Key], wanted: frozenset[str], request: PageRequest, max_depth: int | None = None
    ) -> dict[Key, Page]:
        """For each trace a page of its calls in the order of its tree, down to a depth; see `Tree`.

        Raises:
            BadInputError: the depth is negative, the cursor is none of a tree's, or there are more than `MAX_CALLS`.
        """
        _check_depth(max_depth)
        found: dict[Key, Page] = {}
        for project_id, trace_ids in group_by_project(keys):
            rows = await self._read(project_id, trace_ids, LIGHT)
            for trace_id, calls in rows.items():
                tree = await Tree.of(project_id, trace_id, calls, max_depth)
                found[project_id, trace_id] = tree.page(request)
            await self._complete(project_id, found, trace_ids, wanted)
        return found

    async def _complete(
        self, project_id: str, pages: dict[Key, Page], trace_ids: Iterable[str], wanted: frozenset[str]
    ) -> None:
        """Add the wanted fields to the rows of some traces' pages; calls that are gone since leave them."""
        paths = {*paths_of(wanted), "project_id"}
        found = [pages[project_id, trace_id] for trace_id in trace_ids]
        if not paths - {*LIGHT, "project_id"}:
            for page in found:
                for row in page.rows:
                    row["project_id"] = project_id
            return
        ids = [row["id"] for page in found for row in page.rows]
        match = calls_match(project_id) | {"_id": {"$in": [key(project_id, each)["_id"] for each in ids]}}
        stages = [{"$match": match}, {"$project": {"_id": 0} | dict.fromkeys([*paths, "id"], 1)}]
        rest = {row["id"]: row for row in await all_rows(self._calls, stages, len(ids) + 1)}
        for page in found:
            page.rows[:] = [row | rest[row["id"]] for row in page.rows if row["id"] in rest]
        await add_computed_fields(self.database, project_id, [row for page in found for row in page.rows], {*wanted})

    @database_query
    async def count(self, keys: Sequence[Key], max_depth: int | None = None) -> dict[Key, int]:
        """For each trace how many calls its tree has down to a depth."""
        _check_depth(max_depth)
        if max_depth is None:
            return await self.calls.count(keys)
        pages = await self.trees(keys, frozenset(), PageRequest(size=self._max_calls), max_depth)
        return {each: len(page.rows) for each, page in pages.items()}

    @database_query
    async def totals(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, Row]:
        """For each trace the wanted ones of its totals; without `cost` or `unpriced_tokens` its usage is not priced.

        Raises:
            BadInputError: usage is wanted, and the traces have more than `MAX_CALLS`.
        """
        found: dict[Key, Row] = {each: dict(totals.OF_NONE) for each in keys}
        counting = totals.counting(wanted)
        for project_id, trace_ids in group_by_project(keys):
            if counting:
                stages = [{"$match": _of_traces(project_id, trace_ids)}, {"$group": counting}]
                for row in await all_rows(self._calls, stages, len(trace_ids) + 1):
                    found[project_id, row.pop("_id")] |= totals.with_duration(row)
            if totals.USAGE in wanted:
                for trace_id, usage in (await self._usage(project_id, trace_ids, wanted)).items():
                    found[project_id, trace_id][totals.USAGE] = usage
        return found

    async def _usage(self, project_id: str, trace_ids: Sequence[str], wanted: frozenset[str]) -> dict[str, Row]:
        rows = await self._read(project_id, trace_ids, {*LIGHT, *ALWAYS_READ, *USAGE_READ})
        prices = None
        if not totals.COST.isdisjoint(wanted):
            models = {model for calls in rows.values() for model in models_of(calls)}
            prices = await prices_of_models(self.database, project_id, models)
        return {trace_id: await usage_of_trace(calls, prices) for trace_id, calls in rows.items()}

    async def _read(self, project_id: str, trace_ids: Sequence[str], paths: Iterable[str]) -> dict[str, list[Row]]:
        """Some paths of the calls of each of some traces, the oldest first, as they were at one moment."""
        stages: list[dict[str, Any]] = [
            {"$match": _of_traces(project_id, trace_ids)},
            {"$sort": {"trace_id": 1, **_OLDEST_FIRST}},
            {"$limit": self._max_calls + 1},
            {"$project": {"_id": 0} | dict.fromkeys(paths, 1)},
        ]
        with translate_index_build_error():
            rows = await all_rows(self._calls, stages, self._max_calls + 2)
        if len(rows) > self._max_calls:
            raise BadInputError(
                f"the traces have more than {self._max_calls:,} calls together, the limit for trees and usage; ask for "
                "fewer traces at once, or for one's calls page by page"
            )
        found: dict[str, list[Row]] = {trace_id: [] for trace_id in trace_ids}
        for row in rows:
            found[row["trace_id"]].append(row)
        return found


def _of_traces(project_id: str, trace_ids: Sequence[str]) -> dict[str, Any]:
    return calls_match(project_id) | {"trace_id": {"$in": list(trace_ids)}}


def _check_depth(max_depth: int | None) -> None:
    if max_depth is not None and max_depth < 0:
        raise BadInputError(f"{max_depth} is negative; roots are at depth 0", "max_depth")
