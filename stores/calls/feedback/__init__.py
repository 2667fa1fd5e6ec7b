"""Queries and sorts of calls by the feedback on them, `feedback.[<type>].payload.<path>`.

A comparison is true of a call where it is true of any feedback of the type on it, and missing equals null: a call that
has none counts as one that has a single feedback of nulls. `$not` is its exact negation. Two comparisons may be met by
different feedback. A sort takes the newest feedback of the type, by `created_at`, then `id`.
"""

from stores.calls.feedback.conditions import Conditions
from stores.calls.feedback.feedback_sort import CallsByFeedback
from stores.calls.feedback.field_names import FeedbackNames
from stores.calls.feedback.latest_feedback import NewestFeedback
from stores.calls.feedback.lookups import lookup
from stores.calls.feedback.prequeries import AT_FIRST, MAX_FOUND, Answers, FeedbackPrequery, run_prequeries

__all__ = [
    "AT_FIRST",
    "MAX_FOUND",
    "Answers",
    "CallsByFeedback",
    "Conditions",
    "FeedbackNames",
    "FeedbackPrequery",
    "NewestFeedback",
    "lookup",
    "run_prequeries",
]
