"""Scores as feedback on the model calls of predictions, as Weave's client also stores them."""

import logging
from typing import Final

from stores.errors import BadInputError, PayloadTooLargeError
from stores.evaluations.running.call_tree import RunCalls
from stores.evaluations.running.definitions import Judge
from stores.feedback import FeedbackStore, NewFeedback
from stores.refs import Ref, parse

logger = logging.getLogger("loomql")

_TYPE: Final = "wandb.runnable"


async def store_score(
    feedback: FeedbackStore, run: RunCalls, judge: Judge, predict: str, score: str, output: object
) -> None:
    """Store a score as feedback; repeated calls store it once.

    `predict` and `score` are the names of the model's and the scorer's call. It stores nothing if the scorer is inside
    the evaluation object, because feedback needs an object name. A score too large for feedback is only in its call.
    """
    ref = parse(judge.ref)
    if ref.steps:
        return
    new = NewFeedback(
        run.project_id,
        str(Ref(run.project_id, "call", run.id_of(predict))),
        f"{_TYPE}.{ref.name}",
        {"output": output},
        id=run.id_of(f"{score}/feedback"),
        runnable_ref=judge.ref,
        call_ref=str(Ref(run.project_id, "call", run.id_of(score))),
        wb_user_id=run.wb_user_id,
    )
    try:
        await feedback.create_one(new)
    except (BadInputError, PayloadTooLargeError) as error:
        logger.info("a score of run %s is not stored as feedback, only in its call: %s", run.call_id, error)
