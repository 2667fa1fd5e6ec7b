"""The store of runs of evaluations, as they are read: each question within one project. Calls make them."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from stores import paging
from stores.calls import documents
from stores.calls.fields import CALL_FIELDS
from stores.calls.filters import calls_match
from stores.calls.list_query import OLDEST_FIRST
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document, database_query
from stores.evaluations import comparison, metrics
from stores.evaluations.definitions import Definition, Definitions
from stores.evaluations.examples import EXAMPLE, add_examples
from stores.evaluations.logged_runs import EVALUATE, check_is_run, find_run, no_run
from stores.evaluations.predictions import Key, Predictions, Wanted
from stores.evaluations.related_calls import find_calls, find_runs_above
from stores.evaluations.results import EVERY_ROW, RowsSearch, counted, rows_search
from stores.evaluations.run_headers import OF_DEFINITION, evaluation_of, header, paths_of
from stores.evaluations.run_rows import RowsOfRuns, Run
from stores.evaluations.status import Status, find_status
from stores.evaluations.usage import USAGE, usage_of_run
from stores.ids import by_project, check_project_id
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany

_NOTHING: Final = Wanted()


class EvaluationsStore:
    """Runs of evaluations, as the visible calls in MongoDB make them, whoever logged them.

    A run is named by its call. Its rows are dicts: `id` is the digest of the example that one is about.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls
        self._definitions = Definitions(database)
        self._predictions = Predictions(database)
        oldest_first = compile_sort(OLDEST_FIRST, CALL_FIELDS)
        self.taking = OneToMany(
            *(database, self._calls, "input_refs", oldest_first, _runs_of, lambda wanted: [*paths_of(wanted)]),
            finish=self._become_headers,
        )
        """From a project and the ref of an object in it to the headers of the runs that took just that as an input."""
        self.results = RowsOfRuns(database, self._predictions)
        """From runs to their rows."""

    @database_query
    async def status(self, project_id: str, call_id: str) -> Status:
        """How a run stands.

        Raises:
            BadInputError: the call is not an evaluation.
        """
        check_project_id(project_id)
        return await find_status(self.database, project_id, call_id)

    @database_query
    async def run(self, project_id: str, call_id: str, wanted: Iterable[str]) -> Row | None:
        """The wanted fields of a run's header; None where no such call is visible.

        Raises:
            BadInputError: the call is not an evaluation.
        """
        check_project_id(project_id)
        wanted = set(wanted)
        call = await find_run(self.database, project_id, call_id, paths_of(wanted))
        return (await self._headers(project_id, [call], wanted))[0] if call else None

    @database_query
    async def runs(self, project_id: str, call_ids: Sequence[str], wanted: Iterable[str]) -> list[Row]:
        """The wanted fields of the headers of runs that are to be compared, in their order.

        Raises:
            BadInputError: there are too few or too many, one is named twice, or is not an evaluation; the error names
                it as `call_ids.<position>`.
            NotFoundError: one is not there.
        """
        check_project_id(project_id)
        comparison.check_runs(call_ids)
        wanted = set(wanted)
        keys = [documents.key(project_id, call_id)["_id"] for call_id in call_ids]
        match = {"_id": {"$in": keys}, "project_id": project_id, "visible": True}
        paths = dict.fromkeys([*paths_of(wanted), "op_trace_name"], 1)
        found = {call["id"]: call async for call in self._calls.find(match, {"_id": 0} | paths)}
        for position, call_id in enumerate(call_ids):
            if call_id not in found:
                raise no_run(call_id, f"call_ids.{position}")
            check_is_run(found[call_id], f"call_ids.{position}")
        return await self._headers(project_id, [found[call_id] for call_id in call_ids], wanted)

    @database_query
    async def above(self, keys: Sequence[Run], wanted: frozenset[str]) -> dict[Run, Row | None]:
        """For each project and id of a call in it the header of the run that it is part of, or is itself; else None.

        It is looked for among the `MAX_ABOVE` calls above it, all at once level by level.
        """
        found: dict[Run, Row | None] = dict.fromkeys(keys)
        for project_id, call_ids in by_project(keys):
            runs = await find_runs_above(self.database, project_id, call_ids)
            ids = list(dict.fromkeys(runs.values()))
            calls = [call async for call in find_calls(self.database, project_id, ids, paths_of(wanted))]
            headers = {row["id"]: row for row in await self._headers(project_id, calls, {*wanted})}
            found |= {(project_id, call_id): headers.get(run_id) for call_id, run_id in runs.items()}
        return found

    async def _become_headers(
        self, _database: Database, project_id: str, rows: Sequence[Row], wanted: set[str]
    ) -> None:
        """Make headers of runs' calls."""
        for row, found in zip(rows, await self._headers(project_id, rows, wanted), strict=True):
            row.clear()
            row.update(found)

    async def _headers(self, project_id: str, calls: Sequence[Document], wanted: set[str]) -> list[Row]:
        if OF_DEFINITION.isdisjoint(wanted):
            return [header(call) for call in calls]
        given = [evaluation_of(call) for call in calls]
        keys = {(project_id, each) for each in given if isinstance(each, str)}
        found = await self._definitions.of(list(keys))
        return [
            header(call, found[project_id, each] if isinstance(each, str) else Definition.of(each))
            for call, each in zip(calls, given, strict=True)
        ]

    @database_query
    async def rows(
        self,
        project_id: str,
        run_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        of_predictions: Wanted = _NOTHING,
    ) -> Page:
        """A page of a run's rows; without a sort the first begun come first.

        They have the `example` and the `predictions` as far as these, and any of their fields, are wanted.

        Raises:
            NotFoundError: there is no such run.
            BadInputError: the call is not an evaluation, the sort, the query or the cursor breaks a rule, or there are
                more predictions than one answer has.
        """
        check_project_id(project_id)
        if await find_run(self.database, project_id, run_id, (), "evaluation_call_id") is None:
            raise no_run(run_id, "evaluation_call_id")
        search = rows_search(project_id, run_id, sort_by, query)
        page = await self._page(project_id, [run_id], search, request, wanted)
        if of_predictions.fields:
            found = await self._predictions.of([(project_id, run_id, row["id"]) for row in page.rows], of_predictions)
            async for row in cooperative(page.rows):
                row["predictions"] = found[project_id, run_id, row["id"]]
        return page

    @database_query
    async def count_rows(self, project_id: str, run_id: str, query: Query | None = None) -> int:
        """How many rows a run has that pass the query."""
        return await paging.count(self._calls, counted(project_id, run_id, query))

    @database_query
    async def joined_rows(
        self,
        project_id: str,
        run_ids: Sequence[str],
        request: PageRequest,
        wanted: Iterable[str],
        sort_by: Sequence[SortBy] | None = None,
        of_predictions: Wanted = _NOTHING,
        *,
        only_common: bool = True,
        with_metrics: bool = False,
    ) -> Page:
        """A page of the examples of runs, or of those that all of them have.

        Under `runs` they have, in the order of the runs, of each the `run_id`, the `predictions` as far as any of their
        fields are wanted, and the `metrics` of `metrics.find_changes`.

        Raises:
            BadInputError: the sort or the cursor breaks a rule, or there are more predictions than one answer has.
        """
        search = comparison.joined_rows(project_id, run_ids, sort_by, only_common=only_common)
        page = await self._page(project_id, run_ids, search, request, wanted)
        digests = [row["id"] for row in page.rows]
        keys = [(project_id, run_id, digest) for digest in digests for run_id in run_ids]
        found = await self._predictions.of(keys, of_predictions) if of_predictions.fields else {}
        changes = await metrics.find_changes(self.database, project_id, run_ids, digests) if with_metrics else {}
        async for row in cooperative(page.rows):
            row["runs"] = [
                {"run_id": run_id, "predictions": found.get((project_id, run_id, row["id"])), "metrics": numbers}
                for run_id, numbers in zip(run_ids, changes.get(row["id"], [None] * len(run_ids)), strict=True)
            ]
        return page

    @database_query
    async def count_joined_rows(self, project_id: str, run_ids: Sequence[str], *, only_common: bool = True) -> int:
        """How many examples runs have, or have in common."""
        return await paging.count(
            self._calls, comparison.joined_rows(project_id, run_ids, only_common=only_common).source
        )

    async def _page(
        self, project_id: str, run_ids: Sequence[str], search: RowsSearch, request: PageRequest, wanted: Iterable[str]
    ) -> Page:
        page = await paging.find_page(self._calls, EVERY_ROW, search.order, request, ["id"], search.source)
        for row in page.rows:
            row["example_digest"] = row["id"]
        if page.rows and not {EXAMPLE, "example_ref"}.isdisjoint(wanted):
            await add_examples(self.database, project_id, run_ids, page.rows)
        return page

    @database_query
    async def predictions(self, keys: Sequence[Key], wanted: Wanted) -> dict[Key, list[Row]]:
        """For each run and example its predictions; see `Predictions.of`."""
        return await self._predictions.of(keys, wanted)

    @database_query
    async def metrics(self, keys: Sequence[Run]) -> dict[Run, list[Row]]:
        """For each run the metrics of its scores, by name."""
        found: dict[Run, list[Row]] = {}
        for project_id in {project_id: None for project_id, _ in keys}:
            run_ids = [run_id for project, run_id in keys if project == project_id]
            rows = await metrics.find_metrics(self.database, project_id, run_ids, "call_id")
            found |= {(project_id, run_id): rows[run_id] for run_id in run_ids}
        return found

    @database_query
    async def compared_metrics(self, project_id: str, run_ids: Sequence[str]) -> list[Row]:
        """The metrics of runs by `name`; under `runs` those of each that has it, with how it differs from the first."""
        return await metrics.compare_metrics(self.database, project_id, run_ids)

    @database_query
    async def usage(self, keys: Sequence[Run]) -> dict[Run, Row]:
        """For each run what it used of models, with all calls below it."""
        found = {}
        for key in keys:
            run = await find_run(self.database, *key, USAGE)
            if run is None:
                raise no_run(key[1], "call_id")
            found[key] = await usage_of_run(self.database, key[0], run)
        return found


def _runs_of(project_id: str) -> dict[str, Any]:
    """The match of a project's runs."""
    return calls_match(project_id) | {"op_trace_name": {"$regex": re.escape(EVALUATE)}}
