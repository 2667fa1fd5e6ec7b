"""Runs of evaluations as they are logged: the calls that make them, whoever logs them.

    Evaluation.evaluate                     the run: inputs self (the evaluation) and model; its output sums up
        Evaluation.predict_and_score        a prediction, one for each example and trial: inputs model and example;
                                            its output has output (once model_output), scores and model_latency
            <Model>.predict                 the model's call
            <Scorer>.score                  one for each scorer
        Evaluation.summarize

Weave's client logs runs in this shape, its EvaluationLogger does, and so does LoomQL's own runner. The ops of a
subclass end in the same names, and Weave's client for TypeScript writes predictAndScore.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from stores.calls import documents
from stores.database import Database, Document
from stores.errors import BadInputError, NotFoundError

EVALUATE: Final = "Evaluation.evaluate"
"""What the names of the ops contain whose calls are runs."""

BATCH: Final = 2_000
"""Documents that MongoDB sends in one answer, for a page of hundreds in the first; to decode more holds all else up."""

Match = dict[str, Any]


async def find_run(
    database: Database, project_id: str, call_id: str, paths: Iterable[str], argument: str = "call_id"
) -> Document | None:
    """Some paths of the call that is a run; None where no such call is visible.

    Raises:
        BadInputError: the call is not an evaluation.
    """
    match = {**documents.key(project_id, call_id), "visible": True}
    found = await database.calls.find_one(match, {"_id": 0} | dict.fromkeys([*paths, "op_trace_name"], 1))
    if found:
        check_is_run(found, argument)
    return found


def check_is_run(call: Document, argument: str) -> None:
    """Hold a call to being a run.

    Raises:
        BadInputError: its op is another one.
    """
    if EVALUATE not in call["op_trace_name"]:
        op = call["op_trace_name"][:200]
        raise BadInputError(f"Call is not an evaluation: its op is {op!r}; give a call of {EVALUATE}", argument)


def no_run(call_id: str, argument: str) -> NotFoundError:
    """The error of a run that is not there."""
    return NotFoundError(f"there is no call {call_id[:64]!r} in this project", argument)


def predictions_of(project_id: str, run_ids: Sequence[str], digests: Sequence[str] | None = None) -> Match:
    """The match of the predictions of some runs: of all examples, or of those with some digests."""
    return {
        "project_id": project_id,
        "visible": True,
        "parent_id": run_ids[0] if len(run_ids) == 1 else {"$in": list(run_ids)},
        "example_digest": {"$gt": ""} if digests is None else {"$in": list(digests)},
    }


def if_text(path: str) -> Document:
    """The expression of what is at a path of the inputs where that is a text, such as a ref; missing otherwise."""
    return {"$cond": [{"$eq": [{"$type": f"$inputs.{path}"}, "string"]}, f"$inputs.{path}", "$$REMOVE"]}
