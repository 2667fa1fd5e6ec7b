"""Questions to all feedback of a project, asked before calls are: on which calls is some of this kind?

The answer makes a condition on feedback one on the calls' ids, so that no call is looked at in vain. An answer that
would be too long is none; the calls are looked up one by one then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import ASCENDING

from stores.calls.feedback.names import match_of_type
from stores.database import Collection
from stores.query.expressions import Operand
from stores.query.match import ANY_TEXT, compile_match
from stores.transactions import Session

MAX_FOUND: Final = 50_000
"""Feedback that the answers of one search are made of."""

_BYTES_OF_A_CALL: Final = 60
"""Of its key in a list, beside the project's id."""


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """Which calls have feedback of a type that meets an operation on it? Each question is itself and no other."""

    feedback_type: str | None
    operation: Operand | None = None

    def match(self, project_id: str) -> dict[str, Any]:
        """The match of the feedback."""
        on_calls = {"project_id": project_id, "call_id": ANY_TEXT, **match_of_type(self.feedback_type)}
        return on_calls if self.operation is None else {**on_calls, "$and": [compile_match(self.operation)]}

    @property
    def order(self) -> list[tuple[str, int]]:
        """The order of the index that leads to no more than it has to; MongoDB by itself may take another."""
        first = "call_id" if self.feedback_type is None else "feedback_type"
        return [(first, ASCENDING), ("created_at", ASCENDING), ("id", ASCENDING)]


Answers = Mapping[Question | None, Sequence[str] | None]
"""The ids of calls, by question; None where they are too many."""


async def ask(
    feedback: Collection, project_id: str, questions: Sequence[Question], room: int, session: Session
) -> Answers:
    """The answers, in one command for each question; all together they take some bytes of a pipeline at most."""
    left = min(MAX_FOUND, room // (len(project_id.encode()) + _BYTES_OF_A_CALL))
    answers: dict[Question | None, Sequence[str] | None] = {}
    for question in questions:
        found = answers[question] = await _answer(feedback, question, project_id, left, session)
        left -= len(found or ())
    return answers


async def _answer(
    feedback: Collection, question: Question, project_id: str, at_most: int, session: Session
) -> Sequence[str] | None:
    size, only = at_most + 1, {"_id": 0, "call_id": 1}
    match, order = question.match(project_id), question.order
    cursor = feedback.find(match, only, sort=order, limit=size, batch_size=size, session=session)
    found = [row["call_id"] for row in await cursor.to_list(None)]
    return list(dict.fromkeys(found)) if len(found) < size else None
