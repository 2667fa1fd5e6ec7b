"""Runs of evaluations as they are logged: the calls that make them, whoever logs them.

    Evaluation.evaluate                         the run: inputs self (the evaluation) and model; its output sums up
        Evaluation.predict_and_score            one for each example and trial: inputs example and model
            <Model>.predict                     the prediction
            <Scorer>.score                      one for each scorer
        Evaluation.summarize

Weave's client logs runs in this shape, and so does LoomQL's own runner. What a subclass of Evaluation calls its own ends
in the same names, and Weave's client for TypeScript writes predictAndScore.
"""

import re
from typing import Final

from stores.calls import documents
from stores.database import Database, Document
from stores.errors import BadInputError

EVALUATE: Final = "Evaluation.evaluate"

_PREDICTIONS: Final = re.compile(r"\.predict(_and_s|AndS)core$")
"""The ends of the names of ops whose calls each are about an example."""

PREDICTION: Final[Document] = {"op_trace_name": {"$regex": _PREDICTIONS.pattern}}


async def find_run(
    database: Database, project_id: str, call_id: str, paths: Document, argument: str = "call_id"
) -> Document | None:
    """Some paths of the call that is a run; None where no such call is visible.

    Raises:
        BadInputError: the call is not an evaluation.
    """
    match = {**documents.key(project_id, call_id), "visible": True}
    found = await database.calls.find_one(match, {"_id": 0, "op_trace_name": 1, **paths})
    if found and EVALUATE not in found["op_trace_name"]:
        raise BadInputError(
            f"Call is not an evaluation: its op is {found['op_trace_name'][:200]!r}; give a call of {EVALUATE}",
            argument,
        )
    return found
