"""Questions to all feedback of a project, asked before calls are: on which calls is some of this kind?

The answer makes a condition on feedback one on the calls' ids, so that no call is looked at in vain. An answer that
would be too long is none; the calls are looked up one by one then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument

from stores.calls.feedback.field_names import match_of_type
from stores.database import Collection
from stores.database.transactions import Session
from stores.query.match_compiler import ANY_TEXT, compile_match
from stores.query.syntax_tree import Operand

Pipeline = list[dict[str, Any]]

MAX_FOUND: Final = 50_000
"""Feedback that the answers of one search are made of."""

AT_FIRST: Final = 5_000
"""The same for a page at first: where there is more, the first calls that are looked up may well fill it."""

_BYTES_OF_A_CALL: Final = 60
"""Of its key in a list, beside the project's id."""


@dataclass(frozen=True, eq=False, slots=True)
class FeedbackPrequery:
    """Which calls have feedback of a type that meets an operation on it? Each question is itself and no other."""

    feedback_type: str | None
    operation: Operand | None = None

    def match(self, project_id: str) -> dict[str, Any]:
        """The match of the feedback."""
        on_calls = {"project_id": project_id, "call_id": ANY_TEXT, **match_of_type(self.feedback_type)}
        return on_calls if self.operation is None else {**on_calls, "$and": [compile_match(self.operation)]}

    @property
    def order(self) -> dict[str, int]:
        """The order of the index that leads to no more than it has to; MongoDB by itself may take another."""
        first = "call_id" if self.feedback_type is None else "feedback_type"
        return {first: 1, "created_at": 1, "id": 1}


@dataclass(frozen=True, eq=False)
class Calls:
    """The ids of calls, each once, as matches of them: however many they are, they are encoded but once."""

    ids: Sequence[str]
    feedback: int
    """How much feedback they are of."""

    @cached_property
    def by_id(self) -> dict[str, Any]:
        """The match of their ids."""
        return {"id": _among(self.ids)}

    def by_key(self, project_id: str) -> dict[str, Any]:
        """The match of their keys."""
        return {"_id": _among([f"{project_id}:{call}" for call in self.ids])}


def _among(members: Sequence[str]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"$in": members}))


Answers = Mapping[FeedbackPrequery | None, Calls | None]
"""The calls, by question; None where they are too many."""


async def run_prequeries(
    feedback: Collection,
    project_id: str,
    questions: Sequence[FeedbackPrequery],
    room: int,
    session: Session,
    at_most: int = MAX_FOUND,
) -> Answers:
    """The answers, in one command for each question; all together they take some bytes of a pipeline at most."""
    left = min(at_most, MAX_FOUND, room // (len(project_id.encode()) + _BYTES_OF_A_CALL))
    answers: dict[FeedbackPrequery | None, Calls | None] = {}
    for question in questions:
        stages: Pipeline = [{"$match": question.match(project_id)}, {"$sort": question.order}]
        found = answers[question] = await gathered(feedback, stages, left, session)
        left -= found.feedback if found else 0
    return answers


async def gathered(feedback: Collection, stages: Pipeline, at_most: int, session: Session) -> Calls | None:
    """The calls of all feedback that some stages find; None where that is too much."""
    together = {"_id": None, "calls": {"$addToSet": "$call_id"}, "feedback": {"$sum": 1}}
    cursor = feedback.aggregate([*stages, {"$limit": at_most + 1}, {"$group": together}], session=session)
    async for found in cursor:
        return Calls(found["calls"], found["feedback"]) if found["feedback"] <= at_most else None
    return Calls([], 0)
