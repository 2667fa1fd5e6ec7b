"""Headers of runs: everything but their rows, such as evaluation, model, status and summary."""

from collections.abc import Iterable
from typing import Final

from stores.database import Document
from stores.evaluations.definitions import Definition
from stores.evaluations.status import summary_text
from stores.paging import Row
from stores.refs import is_ref

DEFINITION_FIELDS: Final = frozenset({"dataset", "scorers", "trials"})

_ALWAYS_READ: Final = ("id", "project_id", "trace_id", "parent_id", "status", "started_at")
_READS: Final = {
    "evaluation": ("inputs.self",),
    "model": ("inputs.model",),
    "output": ("json.output",),
    **dict.fromkeys(DEFINITION_FIELDS, ("inputs.self",)),
}
_STATUSES: Final = {"running": "running", "error": "failed"}


def paths_of(wanted: Iterable[str]) -> set[str]:
    """Return the paths of a run's call that the selected header fields need."""
    return {*_ALWAYS_READ, *(path for name in wanted for path in _READS.get(name, (name,)))}


def evaluation_of(call: Document) -> object:
    """Return the evaluation of a run: a ref or a value."""
    return call.get("inputs", {}).get("self")


def header(call: Document, definition: Definition | None = None) -> Row:
    """Build the header of a run from the paths read; refs become dicts of `project_id` and `ref`."""
    row = {name: value for name, value in call.items() if name not in ("inputs", "json")}
    row["status"] = _STATUSES.get(call["status"], "complete")
    if "output" in call.get("json", {}):
        row["json"] = {"output": summary_text(call)}
    row["evaluation"] = _ref(call, evaluation_of(call))
    row["model"] = _ref(call, call.get("inputs", {}).get("model"))
    if definition:
        row["dataset"] = _ref(call, definition.dataset_ref)
        row["scorers"] = [_ref(call, scorer) for scorer in definition.scorers]
        row["trials"] = definition.trials
    return row


def _ref(call: Document, value: object) -> Row | None:
    return {"project_id": call["project_id"], "ref": value} if isinstance(value, str) and is_ref(value) else None
