"""What is told of runs beside their rows: which evaluation of which model they are, and how they went."""

from collections.abc import Iterable
from typing import Final

from stores.database import Document
from stores.evaluations.definitions import Definition
from stores.evaluations.status import summed_up
from stores.paging import Row
from stores.refs import is_ref

OF_DEFINITION: Final = frozenset({"dataset", "scorers", "trials"})

_ALWAYS_READ: Final = ("id", "project_id", "trace_id", "parent_id", "status", "started_at")
_READS: Final = {
    "evaluation": ("inputs.self",),
    "model": ("inputs.model",),
    "output": ("json.output",),
    **dict.fromkeys(OF_DEFINITION, ("inputs.self",)),
}
_STATUSES: Final = {"running": "running", "error": "failed"}


def paths_of(wanted: Iterable[str]) -> set[str]:
    """What of a run's call holds some fields of its header."""
    return {*_ALWAYS_READ, *(path for name in wanted for path in _READS.get(name, (name,)))}


def evaluation_of(call: Document) -> object:
    """The evaluation that a run is of: a ref, or its value."""
    return call.get("inputs", {}).get("self")


def header(call: Document, definition: Definition | None = None) -> Row:
    """The header of a run, as far as its call was read: refs are dicts of `project_id` and `ref`."""
    row = {name: value for name, value in call.items() if name not in ("inputs", "json")}
    row["status"] = _STATUSES.get(call["status"], "complete")
    if "output" in call.get("json", {}):
        row["json"] = {"output": summed_up(call)}
    row["evaluation"] = _ref(call, evaluation_of(call))
    row["model"] = _ref(call, call.get("inputs", {}).get("model"))
    if definition:
        row["dataset"] = _ref(call, definition.dataset_ref)
        row["scorers"] = [_ref(call, scorer) for scorer in definition.scorers]
        row["trials"] = definition.trials
    return row


def _ref(call: Document, value: object) -> Row | None:
    return {"project_id": call["project_id"], "ref": value} if isinstance(value, str) and is_ref(value) else None
