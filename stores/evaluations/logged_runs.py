"""Runs of evaluations as clients log them: the calls of a run and how to match them.

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

EVALUATE: Final = "Evaluation.evaluate"
"""Substring of the op name of every run."""

BATCH: Final = 2_000
"""Documents per MongoDB batch. Larger batches block the event loop while they are decoded."""

Match = dict[str, Any]


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
