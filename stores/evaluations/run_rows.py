"""Result rows of many runs: a relation from each run to a page of its rows."""

from collections.abc import Sequence
from typing import Any, Final

from stores.concurrency.time_slices import cooperative
from stores.database import Database, database_query
from stores.evaluations.examples import EXAMPLE_FIELDS, add_examples
from stores.evaluations.predictions import Predictions, PredictionSelection
from stores.evaluations.results import order_by
from stores.ids import group_by_project
from stores.paging import Page, PageRequest, Row
from stores.relations import OneToMany

RunKey = tuple[str, str]
"""Project id and run id."""

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


class RunRows:
    """Relation from runs to their rows, ordered by start time; a row's `id` is the example digest."""

    def __init__(self, database: Database, predictions: Predictions) -> None:
        self.database = database
        self._predictions = predictions
        self._relation = OneToMany(
            *(database, database.calls, "parent_id", order_by(None, {}), _predictions_of),
            paths_of=lambda _: ["run_id"],
            transform=_ROWS,
        )

    @database_query
    async def pages(
        self, keys: Sequence[RunKey], wanted: frozenset[str], request: PageRequest, of_predictions: PredictionSelection
    ) -> dict[RunKey, Page]:
        """Return a page of rows for each run. The number of commands does not grow with the runs of a project.

        Rows have `example` and `predictions` if selected.

        Raises:
            BadInputError: the cursor is invalid, or there are more predictions than one response may have.
        """
        pages = await self._relation.pages(keys, frozenset(), request)
        for project_id, run_ids in group_by_project(keys):
            rows = [row for run_id in run_ids for row in pages[project_id, run_id].rows]
            for row in rows:
                row["example_digest"] = row["id"]
            await self.complete(project_id, rows, wanted, of_predictions)
        return pages

    async def count(self, keys: Sequence[RunKey]) -> dict[RunKey, int]:
        """Count the rows of each run."""
        return await self._relation.count(keys)

    async def complete(
        self, project_id: str, rows: Sequence[Row], wanted: frozenset[str], of_predictions: PredictionSelection
    ) -> None:
        """Add the selected examples and predictions to rows, each of which has a `run_id`."""
        if rows and not EXAMPLE_FIELDS.isdisjoint(wanted):
            run_ids = list(dict.fromkeys(row["run_id"] for row in rows))
            await add_examples(self.database, project_id, run_ids, rows, per_run=True)
        if rows and of_predictions.fields:
            predictions = await self._predictions.find([_key(project_id, row) for row in rows], of_predictions)
            async for row in cooperative(rows):
                row["predictions"] = predictions[_key(project_id, row)]


def _key(project_id: str, row: Row) -> tuple[str, str, str]:
    return project_id, row["run_id"], row["id"]


def _predictions_of(project_id: str) -> dict[str, Any]:
    """Build the MongoDB filter of a project's predictions."""
    return {"project_id": project_id, "visible": True, "example_digest": {"$gt": ""}}
