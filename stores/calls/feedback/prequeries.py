"""Feedback prequeries: run before the list query, they find the calls with certain feedback.

Their results turn feedback conditions into conditions on call ids, so that only matching calls are read. A result that
would be too large is dropped, and the calls are then looked up one by one.
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
"""Feedback documents behind all prequery results of one list query."""

AT_FIRST: Final = 5_000
"""Lower limit for the first attempt at a page: with more feedback, the first calls looked up probably fill the page."""

_BYTES_OF_A_CALL: Final = 60
"""BSON bytes of a call's `_id` in a list, without its project id."""


@dataclass(frozen=True, eq=False, slots=True)
class FeedbackPrequery:
    """A search for the calls with feedback of a type that satisfies `operation`; compared by identity."""

    feedback_type: str | None
    operation: Operand | None = None

    def match(self, project_id: str) -> dict[str, Any]:
        """Return the match of the feedback."""
        on_calls = {"project_id": project_id, "call_id": ANY_TEXT, **match_of_type(self.feedback_type)}
        return on_calls if self.operation is None else {**on_calls, "$and": [compile_match(self.operation)]}

    @property
    def order(self) -> dict[str, int]:
        """The sort that makes MongoDB use the index that reads the least feedback."""
        first = "call_id" if self.feedback_type is None else "feedback_type"
        return {first: 1, "created_at": 1, "id": 1}


@dataclass(frozen=True, eq=False)
class Calls:
    """Distinct call ids, with matches that are encoded only once."""

    ids: Sequence[str]
    feedback: int
    """Number of feedback documents on these calls."""

    @cached_property
    def by_id(self) -> dict[str, Any]:
        """The match by call id."""
        return {"id": _among(self.ids)}

    def by_key(self, project_id: str) -> dict[str, Any]:
        """Return the match by `_id`."""
        return {"_id": _among([f"{project_id}:{call}" for call in self.ids])}


def _among(members: Sequence[str]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"$in": members}))


Answers = Mapping[FeedbackPrequery | None, Calls | None]
"""The calls found by each prequery; None if there are too many."""


async def run_prequeries(
    feedback: Collection,
    project_id: str,
    questions: Sequence[FeedbackPrequery],
    room: int,
    session: Session,
    at_most: int = MAX_FOUND,
) -> Answers:
    """Run the prequeries, one command each; their results take at most `max_bytes` of a pipeline in total."""
    left = min(at_most, MAX_FOUND, room // (len(project_id.encode()) + _BYTES_OF_A_CALL))
    answers: dict[FeedbackPrequery | None, Calls | None] = {}
    for question in questions:
        stages: Pipeline = [{"$match": question.match(project_id)}, {"$sort": question.order}]
        found = answers[question] = await gathered(feedback, stages, left, session)
        left -= found.feedback if found else 0
    return answers


async def gathered(feedback: Collection, stages: Pipeline, at_most: int, session: Session) -> Calls | None:
    """Return the calls with the feedback that some stages find; None if it is more than `limit`."""
    together = {"_id": None, "calls": {"$addToSet": "$call_id"}, "feedback": {"$sum": 1}}
    cursor = feedback.aggregate([*stages, {"$limit": at_most + 1}, {"$group": together}], session=session)
    async for found in cursor:
        return Calls(found["calls"], found["feedback"]) if found["feedback"] <= at_most else None
    return Calls([], 0)
