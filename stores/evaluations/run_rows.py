"""The rows of many runs at once: an edge from each run to a page of them."""

from collections.abc import Sequence
from typing import Any, Final

from stores.concurrency.time_slices import cooperative
from stores.database import Database, database_query
from stores.evaluations.examples import EXAMPLE, add_examples
from stores.evaluations.predictions import Predictions, Wanted
from stores.evaluations.results import order_by
from stores.ids import by_project
from stores.paging import Page, PageRequest, Row
from stores.relations import OneToMany

Run = tuple[str, str]
"""A project and the id of a run."""

_ROWS: Final[list[dict[str, Any]]] = [
    {
        "$group": {
            "_id": "$example_digest",
            "id": {"$first": "$example_digest"},
            "run_id": {"$first": "$parent_id"},
            "started_at": {"$min": "$started_at"},
        }
    }
]


class RowsOfRuns:
    """From runs to their rows, those first that were begun first; a row's `id` is its example's digest."""

    def __init__(self, database: Database, predictions: Predictions) -> None:
        self.database = database
        self._predictions = predictions
        self._edge = OneToMany(
            *(database, database.calls, "parent_id", order_by(None, {}), _predictions_of),
            paths_of=lambda _: ["run_id"],
            made=_ROWS,
        )

    @database_query
    async def pages(
        self, keys: Sequence[Run], wanted: frozenset[str], request: PageRequest, of_predictions: Wanted
    ) -> dict[Run, Page]:
        """For each run a page of its rows, by as many commands for many runs of a project as for one.

        They have the `example` and the `predictions` as far as these, and any of their fields, are wanted.

        Raises:
            BadInputError: the cursor is none of a run's, or there are more predictions than one answer has.
        """
        pages = await self._edge.pages(keys, frozenset(), request)
        for project_id, run_ids in by_project(keys):
            rows = [row for run_id in run_ids for row in pages[project_id, run_id].rows]
            await self._complete(project_id, run_ids, rows, wanted, of_predictions)
        return pages

    async def count(self, keys: Sequence[Run]) -> dict[Run, int]:
        """For each run how many rows it has."""
        return await self._edge.count(keys)

    async def _complete(
        self,
        project_id: str,
        run_ids: Sequence[str],
        rows: Sequence[Row],
        wanted: frozenset[str],
        of_predictions: Wanted,
    ) -> None:
        if not rows:
            return
        for row in rows:
            row["example_digest"] = row["id"]
        if not wanted.isdisjoint({EXAMPLE, "example_ref"}):
            await add_examples(self.database, project_id, run_ids, rows, of_each=True)
        if of_predictions.fields:
            found = await self._predictions.of([_key(project_id, row) for row in rows], of_predictions)
            async for row in cooperative(rows):
                row["predictions"] = found[_key(project_id, row)]


def _key(project_id: str, row: Row) -> tuple[str, str, str]:
    return project_id, row["run_id"], row["id"]


def _predictions_of(project_id: str) -> dict[str, Any]:
    """The match of a project's predictions."""
    return {"project_id": project_id, "visible": True, "example_digest": {"$gt": ""}}
