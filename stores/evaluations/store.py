"""The store of runs of evaluations, as they are read: each question within one project. Calls make them."""

from typing import Final

from stores import json_text
from stores.database import Database, Document, database_query
from stores.evaluations.logged import PREDICTION, find_run
from stores.evaluations.status import Complete, Failed, NotFound, Running, Status
from stores.ids import check_project_id

_OF_STATUS: Final = {"id": 1, "status": 1, "exception": 1, "json.inputs": 1, "json.output": 1}


class EvaluationsStore:
    """Runs of evaluations, as the visible calls in MongoDB make them, whoever logged them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @database_query
    async def status(self, project_id: str, call_id: str) -> Status:
        """How a run stands.

        Raises:
            BadInputError: the call is not an evaluation.
        """
        check_project_id(project_id)
        run = await find_run(self.database, project_id, call_id, _OF_STATUS)
        if run is None:
            return NotFound()
        if run["status"] == "running":
            return await self._running(project_id, call_id)
        return Failed(run["exception"]) if "exception" in run else Complete(_summed_up(run))

    async def _running(self, project_id: str, call_id: str) -> Running:
        rows = {"project_id": project_id, "visible": True, "parent_id": call_id, **PREDICTION}
        completed = await self.database.calls.count_documents({**rows, "status": {"$ne": "running"}})
        return Running(completed, completed)


def _summed_up(run: Document) -> str:
    """What a run summed up; an empty object where that is none."""
    text: str = run["json"].get("output", "")
    return text if text.startswith("{") else json_text.encode({})
