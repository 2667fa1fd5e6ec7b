"""Runs of evaluations as clients log them: the calls of a run, how to match them, and the headers of runs.

    Evaluation.evaluate                     the run: inputs self (the evaluation) and model; output is the summary
        Evaluation.predict_and_score        a prediction, one per example and trial: inputs model and example;
                                            its output has output (formerly model_output), scores and model_latency
            <Model>.predict                 the model's call
            <Scorer>.score                  one for each scorer
        Evaluation.summarize

Weave's client, its EvaluationLogger and LoomQL's own runner all log runs like this. Ops of a subclass end in these
names too, and Weave's client for TypeScript writes predictAndScore.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from stores.calls import documents
from stores.database import Database, Document
from stores.errors import BadInputError, NotFoundError
from stores.evaluations.definitions import Definition
from stores.paging import Row
from stores.refs import is_ref

EVALUATE: Final = "Evaluation.evaluate"
"""Substring of the op name of every run."""

BATCH: Final = 2_000
"""Documents per MongoDB batch. Larger batches block the event loop while they are decoded."""

Match = dict[str, Any]

DEFINITION_FIELDS: Final = frozenset({"dataset", "scorers", "trials"})
"""Fields of a run's header that need the definition of its evaluation."""

_ALWAYS_READ: Final = ("id", "project_id", "trace_id", "parent_id", "status", "started_at")
_READS: Final = {
    "evaluation": ("inputs.self",),
    "model": ("inputs.model",),
    "output": ("json.output",),
    **dict.fromkeys(DEFINITION_FIELDS, ("inputs.self",)),
}
_STATUSES: Final = {"running": "running", "error": "failed"}


async def find_run(
    database: Database, project_id: str, call_id: str, paths: Iterable[str], argument: str = "call_id"
) -> Document | None:
    """Return `paths` of the call that is a run; None if no such call is visible.

    Raises:
        BadInputError: the call is not an evaluation.
    """
    match = {**documents.key_fields(project_id, call_id), "visible": True}
    call = await database.calls.find_one(match, {"_id": 0} | dict.fromkeys([*paths, "op_trace_name"], 1))
    if call:
        check_is_run(call, argument)
    return call


def check_is_run(call: Document, argument: str) -> None:
    """Check that a call is a run of an evaluation.

    Raises:
        BadInputError: its op is not an evaluation's.
    """
    if EVALUATE not in call["op_trace_name"]:
        op = call["op_trace_name"][:200]
        raise BadInputError(f"the call is not an evaluation: its op is {op!r}; use a call of {EVALUATE}", argument)


def run_not_found(call_id: str, argument: str) -> NotFoundError:
    """Create the error for a run that does not exist."""
    return NotFoundError(f"there is no call {call_id[:64]!r} in this project", argument)


def predictions_of(project_id: str, run_ids: Sequence[str], digests: Sequence[str] | None = None) -> Match:
    """Build the MongoDB filter of the predictions of runs, of all examples or of those with the given `digests`."""
    return {
        "project_id": project_id,
        "visible": True,
        "parent_id": run_ids[0] if len(run_ids) == 1 else {"$in": list(run_ids)},
        "example_digest": {"$gt": ""} if digests is None else {"$in": list(digests)},
    }


def if_text(path: str) -> Document:
    """Build the expression of the input at `path` if it is a string, such as a ref; otherwise the field is missing."""
    return {"$cond": [{"$eq": [{"$type": f"$inputs.{path}"}, "string"]}, f"$inputs.{path}", "$$REMOVE"]}


def summary_text(run: Document) -> str:
    """Return the JSON text of a run's summary; `{}` if its output is not an object."""
    text: str = run["json"].get("output", "")
    return text if text.startswith("{") else "{}"


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
