"""How runs of evaluations stand."""

from dataclasses import dataclass
from typing import Final

from stores.database import Database, Document
from stores.evaluations.definitions import Definition, Definitions
from stores.evaluations.logged_runs import find_run, predictions_of

_READ: Final = ("status", "exception", "inputs.self", "json.output")


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no such call, or it is deleted."""


@dataclass(frozen=True, slots=True)
class Running:
    """It goes on: how many of its predictions have ended, and how many it makes in all."""

    completed_rows: int
    total_rows: int


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended with an exception."""

    error: str


@dataclass(frozen=True, slots=True)
class Complete:
    """It has ended; what it summed up is the JSON text of an object."""

    output: str


Status = NotFound | Running | Failed | Complete


async def find_status(database: Database, project_id: str, call_id: str) -> Status:
    """How a run stands, in six commands at most, whatever its size.

    Raises:
        BadInputError: the call is not an evaluation.
    """
    run = await find_run(database, project_id, call_id, _READ)
    if run is None:
        return NotFound()
    if run["status"] == "running":
        return await _running(database, project_id, call_id, run)
    return Failed(run["exception"]) if "exception" in run else Complete(summed_up(run))


async def _running(database: Database, project_id: str, call_id: str, run: Document) -> Running:
    ended = {**predictions_of(project_id, [call_id]), "status": {"$ne": "running"}}
    completed = await database.calls.count_documents(ended)
    evaluation, definitions = run.get("inputs", {}).get("self"), Definitions(database)
    if isinstance(evaluation, str):
        key = project_id, evaluation
        definition = (await definitions.of([key]))[key]
    else:
        definition = Definition.of(evaluation)
    return Running(completed, max(completed, await definitions.count_rows(project_id, definition) or 0))


def summed_up(run: Document) -> str:
    """The text of what a run summed up; that of an empty object where it is none."""
    text: str = run["json"].get("output", "")
    return text if text.startswith("{") else "{}"
