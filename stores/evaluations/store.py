"""Read store of evaluation runs, which are trees of calls."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores import paging
from stores.calls.fields import CALL_FIELDS, calls_match
from stores.calls.list_query import OLDEST_FIRST
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document, database_query
from stores.database.driver import all_rows
from stores.errors import BadInputError
from stores.evaluations import logged_runs, result_rows, scores
from stores.evaluations.logged_runs import Status
from stores.evaluations.result_rows import Key, Predictions, PredictionSelection, RunKey, RunRows
from stores.ids import check_project_id, group_by_project
from stores.input_checks import MAX_MEMBERS, check_count, check_range
from stores.json.bson_copy import INT64
from stores.paging import Order, Page, PageRequest, Row, starting_with
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.refs import is_ref
from stores.relations import OneToMany

_NO_PREDICTIONS: Final = PredictionSelection()
_IS_RUN: Final = {"op_trace_name": {"$regex": re.escape(logged_runs.EVALUATE)}}


_NEWEST_FIRST: Final = (SortBy("started_at", descending=True),)

_MAX_VERSIONS: Final = 1_000
"""Versions of ops by which an index finds runs; of more, all calls are searched."""

_STATUSES: Final = {"running": ["running"], "failed": ["error"], "complete": ["success", "descendant_error"]}
"""Statuses of the calls of runs, by the state of a run."""

RUN_FIELDS: Final = FieldTable(
    [
        Field("started_at", "started_at", Kind.TIME, optional=False),
        Field("ended_at", "ended_at", Kind.TIME),
        Field("latency_ms", "latency_ms", Kind.NUMBER),
        Field("display_name", "display_name"),
    ]
)
"""Fields by which runs are sorted."""

Match = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunsFilter:
    """A filter of runs: all conditions must hold; a null or empty list sets none.

    A ref that ends in `:*` stands for every version. Times are microseconds since the epoch, and exclusive.
    """

    evaluation_refs: list[str] | None = None
    model_refs: list[str] | None = None
    statuses: list[str] | None = None
    started_after: int | None = None
    started_before: int | None = None

    def clauses(self) -> list[Match]:
        """Return the conditions on the calls of runs.

        Raises:
            BadInputError: a list is too long, a member is no ref of an object, no run has a status, or the bounds
                exclude each other.
        """
        clauses = [
            *_ref_clauses("inputs.self", self.evaluation_refs, "filter.evaluation_refs"),
            *_ref_clauses("inputs.model", self.model_refs, "filter.model_refs"),
        ]
        check_range(self.started_after, self.started_before, "filter.started_after", exclusive=True)
        bounds = {"$gt": self.started_after, "$lt": self.started_before}
        if present := {operator: bound for operator, bound in bounds.items() if bound is not None}:
            clauses.append({"started_at": present})
        for position, status in enumerate(self.statuses or ()):
            if status not in _STATUSES:
                raise BadInputError(
                    "no stored run has this state; use RUNNING, FAILED or COMPLETE", f"filter.statuses.{position}"
                )
        if self.statuses:
            clauses.append({"status": {"$in": [each for status in self.statuses for each in _STATUSES[status]]}})
        return clauses


def _ref_clauses(path: str, wanted: list[str] | None, argument: str) -> list[Match]:
    """Return the conditions that a ref is in an input."""
    if not wanted:
        return []
    check_count(len(wanted), MAX_MEMBERS, "members", argument)
    exact: list[str] = []
    branches: list[Match] = []
    for position, ref in enumerate(wanted):
        if not is_ref(ref) or "/object/" not in ref:
            raise BadInputError(
                "not the ref of an object; write weave:///entity/project/object/name:digest, or :* for every version",
                f"{argument}.{position}",
            )
        if ref.endswith(":*"):
            branches.append({path: starting_with(ref.removesuffix("*"))})
        else:
            exact.append(ref)
    if not branches:
        # An index finds the calls with a ref among their inputs.
        return [{path: {"$in": exact}}, {"input_refs": {"$in": exact}}]
    return [{"$or": [*branches, {path: {"$in": exact}}]}]


class EvaluationsStore:
    """Reads evaluation runs from visible calls in MongoDB, whichever client logged them.

    A run is identified by the id of its call. Result rows are dicts; their `id` is the example digest.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls
        self._predictions = Predictions(database)
        oldest_first = compile_sort(OLDEST_FIRST, CALL_FIELDS)
        self.runs_by_input = OneToMany(
            database,
            self._calls,
            "input_refs",
            oldest_first,
            lambda project_id: calls_match(project_id) | _IS_RUN,
            paths_of=lambda wanted: [*logged_runs.paths_of(wanted)],
            finish=self._replace_by_headers,
        )
        """Relation from a project and the ref of an object in it to the headers of the runs that have it as an input.
        """
        self.rows_by_run = RunRows(database, self._predictions)
        """Relation from runs to their rows."""

    @database_query
    async def status(self, project_id: str, call_id: str) -> Status:
        """Return the status of a run.

        Raises:
            BadInputError: the call is not an evaluation.
        """
        check_project_id(project_id)
        return await logged_runs.find_status(self.database, project_id, call_id)

    @database_query
    async def run(self, project_id: str, call_id: str, wanted: Iterable[str]) -> Row | None:
        """Return the selected fields of a run's header; None if no such call is visible.

        Raises:
            BadInputError: the call is not an evaluation.
        """
        check_project_id(project_id)
        wanted = set(wanted)
        call = await logged_runs.find_run(self.database, project_id, call_id, logged_runs.paths_of(wanted))
        return (await self._headers(project_id, [call], wanted))[0] if call else None

    @database_query
    async def runs(self, project_id: str, call_ids: Sequence[str], wanted: Iterable[str]) -> list[Row]:
        """Return the selected header fields of the runs to compare, in the order of `call_ids`.

        Raises:
            BadInputError: there are too few or too many runs, one is repeated, or is not an evaluation; the argument is
                `call_ids.<position>`.
            NotFoundError: a run does not exist.
        """
        check_project_id(project_id)
        result_rows.check_runs(call_ids)
        wanted = set(wanted)
        found = logged_runs.find_calls(
            self.database, project_id, call_ids, {*logged_runs.paths_of(wanted), "op_trace_name"}
        )
        calls = {call["id"]: call async for call in found}
        for position, call_id in enumerate(call_ids):
            if call_id not in calls:
                raise logged_runs.run_not_found(call_id, f"call_ids.{position}")
            logged_runs.check_is_run(calls[call_id], f"call_ids.{position}")
        return await self._headers(project_id, [calls[call_id] for call_id in call_ids], wanted)

    @database_query
    async def runs_above(self, keys: Sequence[RunKey], wanted: frozenset[str]) -> dict[RunKey, Row | None]:
        """Return the header of the run that each call is or belongs to; None if there is none.

        It searches up to `MAX_LEVELS_ABOVE` calls above each call, level by level, all calls of a project together.
        """
        result: dict[RunKey, Row | None] = dict.fromkeys(keys)
        for project_id, call_ids in group_by_project(keys):
            runs = await logged_runs.find_runs_above(self.database, project_id, call_ids)
            ids = list(dict.fromkeys(runs.values()))
            calls = [
                call
                async for call in logged_runs.find_calls(self.database, project_id, ids, logged_runs.paths_of(wanted))
            ]
            headers = {row["id"]: row for row in await self._headers(project_id, calls, {*wanted})}
            result |= {(project_id, call_id): headers.get(run_id) for call_id, run_id in runs.items()}
        return result

    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        runs_filter: RunsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
    ) -> Page:
        """Return a page of the headers of a project's runs; by default the newest come first.

        Raises:
            BadInputError: the filter, the sort or the cursor is invalid.
        """
        check_project_id(project_id)
        runs_filter = runs_filter or RunsFilter()
        clauses = runs_filter.clauses()
        order = compile_sort(sort_by or _NEWEST_FIRST, RUN_FIELDS)
        match = await self._runs_match(project_id, clauses)
        scope = "evaluation_runs", project_id, runs_filter
        paths = [*logged_runs.paths_of(wanted := {*wanted})]
        page = await paging.find_page(self._calls, match, order, request, paths, cursor_scope=scope)
        await self._replace_by_headers(self.database, project_id, page.rows, wanted)
        return page

    @database_query
    async def count(self, project_id: str, runs_filter: RunsFilter | None = None, *, limit: int | None = None) -> int:
        """Count the runs of a project that pass the filter, up to `limit`."""
        check_project_id(project_id)
        match = await self._runs_match(project_id, (runs_filter or RunsFilter()).clauses())
        return await paging.count(self._calls, [{"$match": match}], limit)

    async def _runs_match(self, project_id: str, clauses: Sequence[Match]) -> Match:
        """Return the match of a project's runs. An index finds them by the names of their ops."""
        stages: list[Match] = [
            {"$match": calls_match(project_id)},
            {"$group": {"_id": "$op_name"}},  # each name once, from an index alone
            {"$limit": INT64 - 1},  # MongoDB moves no condition before it, which would need all keys
            {"$match": {"_id": {"$regex": re.escape(logged_runs.EVALUATE)}}},
            {"$limit": _MAX_VERSIONS + 1},
        ]
        names = [row["_id"] for row in await all_rows(self._calls, stages, _MAX_VERSIONS + 2)]
        is_run: Match = {"op_name": {"$in": names}} if len(names) <= _MAX_VERSIONS else {}
        conditions = {"$and": [*clauses]} if clauses else {}
        return calls_match(project_id) | is_run | _IS_RUN | conditions

    async def _replace_by_headers(
        self, _database: Database, project_id: str, rows: Sequence[Row], wanted: set[str]
    ) -> None:
        """Replace the calls of runs by their headers, in place."""
        for row, header_row in zip(rows, await self._headers(project_id, rows, wanted), strict=True):
            row.clear()
            row.update(header_row)

    async def _headers(self, project_id: str, calls: Sequence[Document], wanted: set[str]) -> list[Row]:
        if logged_runs.DEFINITION_FIELDS.isdisjoint(wanted):
            return [logged_runs.header(call) for call in calls]
        return list(
            map(logged_runs.header, calls, await logged_runs.find_definitions(self.database, project_id, calls))
        )

    @database_query
    async def rows(
        self,
        project_id: str,
        run_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        of_predictions: PredictionSelection = _NO_PREDICTIONS,
    ) -> Page:
        """Return a page of a run's rows; the default order is by start time.

        Rows have `example` and `predictions` if selected.

        Raises:
            NotFoundError: the run does not exist.
            BadInputError: the call is not an evaluation, the sort, query or cursor is invalid, or there are more
                predictions than one response may have.
        """
        check_project_id(project_id)
        if await logged_runs.find_run(self.database, project_id, run_id, (), "evaluation_call_id") is None:
            raise logged_runs.run_not_found(run_id, "evaluation_call_id")
        source, order = _rows_of(project_id, [run_id], sort_by, query)
        page = await paging.find_page(self._calls, {}, order, request, result_rows.IN_ROWS, source)
        await self.rows_by_run.complete(project_id, page.rows, frozenset(wanted), of_predictions)
        return page

    @database_query
    async def count_rows(
        self, project_id: str, run_id: str, query: Query | None = None, *, limit: int | None = None
    ) -> int:
        """Count the rows of a run that match the query, up to `limit`."""
        return await paging.count(self._calls, _rows_of(project_id, [run_id], query=query)[0], limit)

    @database_query
    async def joined_rows(
        self,
        project_id: str,
        run_ids: Sequence[str],
        request: PageRequest,
        wanted: Iterable[str],
        sort_by: Sequence[SortBy] | None = None,
        of_predictions: PredictionSelection = _NO_PREDICTIONS,
        *,
        only_common: bool = True,
        with_metrics: bool = False,
    ) -> Page:
        """Return a page of the examples of runs; with `only_common` only examples that all runs have.

        Each row has `runs`, in the order of `run_ids`: `run_id`, `predictions` if selected, and the `metrics` of
        `scores.find_changes`.

        Raises:
            BadInputError: the sort or cursor is invalid, or there are more predictions than one response may have.
        """
        source, order = _rows_of(project_id, run_ids, sort_by, only_common=only_common)
        page = await paging.find_page(self._calls, {}, order, request, result_rows.IN_ROWS, source)
        if page.rows and not result_rows.EXAMPLE_FIELDS.isdisjoint(wanted):
            await result_rows.add_examples(self.database, project_id, run_ids, page.rows)
        digests = [row["id"] for row in page.rows]
        keys = [(project_id, run_id, digest) for digest in digests for run_id in run_ids]
        predictions = await self._predictions.find(keys, of_predictions) if of_predictions.fields else {}
        changes = await scores.find_changes(self.database, project_id, run_ids, digests) if with_metrics else {}
        async for row in cooperative(page.rows):
            row["runs"] = [
                {"run_id": run_id, "predictions": predictions.get((project_id, run_id, row["id"])), "metrics": numbers}
                for run_id, numbers in zip(run_ids, changes.get(row["id"], [None] * len(run_ids)), strict=True)
            ]
        return page

    @database_query
    async def count_joined_rows(
        self, project_id: str, run_ids: Sequence[str], *, only_common: bool = True, limit: int | None = None
    ) -> int:
        """Count the examples of runs, or with `only_common` those that all runs have, up to `limit`."""
        return await paging.count(self._calls, _rows_of(project_id, run_ids, only_common=only_common)[0], limit)

    @database_query
    async def predictions(self, keys: Sequence[Key], wanted: PredictionSelection) -> dict[Key, list[Row]]:
        """Return the predictions of each run and example; see `Predictions.find`."""
        return await self._predictions.find(keys, wanted)

    @database_query
    async def metrics(self, keys: Sequence[RunKey]) -> dict[RunKey, list[Row]]:
        """Return the metrics of each run's scores, sorted by name."""
        result: dict[RunKey, list[Row]] = {}
        for project_id, run_ids in group_by_project(keys):
            rows = await scores.find_metrics(self.database, project_id, run_ids, "call_id")
            result |= {(project_id, run_id): rows[run_id] for run_id in run_ids}
        return result

    @database_query
    async def compared_metrics(self, project_id: str, run_ids: Sequence[str]) -> list[Row]:
        """Return the metrics of runs by `name`; `runs` has the values of each run and its difference to the first."""
        return await scores.compare_metrics(self.database, project_id, run_ids)

    @database_query
    async def usage(self, keys: Sequence[RunKey]) -> dict[RunKey, Row]:
        """Return the model usage of each run, including all calls below it."""
        result = {}
        for key in keys:
            run = await logged_runs.find_run(self.database, *key, logged_runs.USAGE)
            if run is None:
                raise logged_runs.run_not_found(key[1], "call_id")
            result[key] = await logged_runs.usage_of_run(self.database, key[0], run)
        return result


def _rows_of(
    project_id: str,
    run_ids: Sequence[str],
    sort_by: Sequence[SortBy] | None = None,
    query: Query | None = None,
    *,
    only_common: bool = False,
) -> tuple[list[dict[str, Any]], Order]:
    """Return the stages that make the rows of runs, and the order of the rows; see `result_rows.row_stages`."""
    stages, order = result_rows.row_stages(run_ids, sort_by, query, only_common=only_common)
    return [{"$match": logged_runs.predictions_of(project_id, run_ids)}, *stages], order
