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

from stores.calls.feedback.field_names import type_match
from stores.database import Collection
from stores.database.transactions import Session
from stores.query.match_compiler import ANY_TEXT, compile_match
from stores.query.syntax_tree import Operand

Pipeline = list[dict[str, Any]]

MAX_FEEDBACK: Final = 50_000
"""Feedback documents behind all prequery results of one list query."""

FIRST_MAX_FEEDBACK: Final = 5_000
"""Lower limit for the first attempt at a page: with more feedback, the first calls looked up probably fill the page."""

_BYTES_PER_CALL: Final = 60
"""BSON bytes of a call's `_id` in a list, without its project id."""


@dataclass(frozen=True, eq=False, slots=True)
class FeedbackPrequery:
    """A search for the calls with feedback of a type that satisfies `operation`; compared by identity."""

    feedback_type: str | None
    operation: Operand | None = None

    def match(self, project_id: str) -> dict[str, Any]:
        """Return the match of the feedback."""
        on_calls = {"project_id": project_id, "call_id": ANY_TEXT, **type_match(self.feedback_type)}
        return on_calls if self.operation is None else {**on_calls, "$and": [compile_match(self.operation)]}

    @property
    def order(self) -> dict[str, int]:
        """The sort that makes MongoDB use the index that reads the least feedback."""
        first = "call_id" if self.feedback_type is None else "feedback_type"
        return {first: 1, "created_at": 1, "id": 1}


@dataclass(frozen=True, eq=False)
class FoundCalls:
    """Distinct call ids, with matches that are encoded only once."""

    ids: Sequence[str]
    num_feedback: int
    """Number of feedback documents on these calls."""

    @cached_property
    def by_id(self) -> dict[str, Any]:
        """The match by call id."""
        return {"id": _encoded_in(self.ids)}

    def by_key(self, project_id: str) -> dict[str, Any]:
        """Return the match by `_id`."""
        return {"_id": _encoded_in([f"{project_id}:{call}" for call in self.ids])}


def _encoded_in(members: Sequence[str]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"$in": members}))


PrequeryResults = Mapping[FeedbackPrequery | None, FoundCalls | None]
"""The calls found by each prequery; None if there are too many."""


async def run_prequeries(
    feedback: Collection,
    project_id: str,
    prequeries: Sequence[FeedbackPrequery],
    max_bytes: int,
    session: Session,
    limit: int = MAX_FEEDBACK,
) -> PrequeryResults:
    """Run the prequeries, one command each; their results take at most `max_bytes` of a pipeline in total."""
    remaining = min(limit, MAX_FEEDBACK, max_bytes // (len(project_id.encode()) + _BYTES_PER_CALL))
    results: dict[FeedbackPrequery | None, FoundCalls | None] = {}
    for prequery in prequeries:
        stages: Pipeline = [{"$match": prequery.match(project_id)}, {"$sort": prequery.order}]
        calls = results[prequery] = await find_calls(feedback, stages, remaining, session)
        remaining -= calls.num_feedback if calls else 0
    return results


async def find_calls(feedback: Collection, stages: Pipeline, limit: int, session: Session) -> FoundCalls | None:
    """Return the calls with the feedback that some stages find; None if it is more than `limit`."""
    grouped = {"_id": None, "calls": {"$addToSet": "$call_id"}, "feedback": {"$sum": 1}}
    cursor = feedback.aggregate([*stages, {"$limit": limit + 1}, {"$group": grouped}], session=session)
    async for row in cursor:
        return FoundCalls(row["calls"], row["feedback"]) if row["feedback"] <= limit else None
    return FoundCalls([], 0)
