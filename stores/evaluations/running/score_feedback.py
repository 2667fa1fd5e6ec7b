"""Scores as feedback on the predictions that they are of, as Weave's client leaves them, too."""

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
    """Store what a scorer gave, by the names of the prediction's and of its own call; as often as one likes.

    A scorer that lies inside an evaluation has no name that feedback could have, and what is too large for feedback is
    in its call alone.
    """
    ref = parse(judge.ref)
    if ref.edges:
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
        logger.info("a score of the run %s is in its call alone: %s", run.call_id, error)
