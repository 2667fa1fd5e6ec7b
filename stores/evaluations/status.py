"""Status of evaluation runs."""

from dataclasses import dataclass
from typing import Final

from stores.database import Database, Document
from stores.evaluations.definitions import Definition, Definitions
from stores.evaluations.logged_runs import find_run, predictions_of, summary_text

_READ: Final = ("status", "exception", "inputs.self", "json.output")


@dataclass(frozen=True, slots=True)
class NotFound:
    """The call does not exist or is deleted."""


@dataclass(frozen=True, slots=True)
class Running:
    """The run is in progress: predictions that have ended, and the expected total."""

    completed_rows: int
    total_rows: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended with an exception."""

    error: str


@dataclass(frozen=True, slots=True)
class Complete:
    """The run has ended; `output` is its summary, the JSON text of an object."""

    output: str


Status = NotFound | Running | Failed | Complete


async def find_status(database: Database, project_id: str, call_id: str) -> Status:
    """Return a run's status with at most six commands, whatever the run's size.

    Raises:
        BadInputError: the call is not an evaluation.
    """
    run = await find_run(database, project_id, call_id, _READ)
    if run is None:
        return NotFound()
    if run["status"] == "running":
        return await _running(database, project_id, call_id, run)
    return Failed(run["exception"]) if "exception" in run else Complete(summary_text(run))


async def _running(database: Database, project_id: str, call_id: str, run: Document) -> Running:
    ended = {**predictions_of(project_id, [call_id]), "status": {"$ne": "running"}}
    completed = await database.calls.count_documents(ended)
    evaluation, definitions = run.get("inputs", {}).get("self"), Definitions(database)
    if isinstance(evaluation, str):
        key = project_id, evaluation
        definition = (await definitions.find([key]))[key]
    else:
        definition = Definition.from_value(evaluation)
    return Running(completed, max(completed, await definitions.count_rows(project_id, definition) or 0))
