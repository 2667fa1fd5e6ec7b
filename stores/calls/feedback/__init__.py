"""Queries and sorts of calls by their feedback, `feedback.[<type>].payload.<path>`.

A comparison is true for a call if it is true for any of its feedback of the type. Missing values equal null: a call
without feedback counts as having a single feedback of nulls. `$not` is the exact negation. Different feedback may
satisfy two comparisons. A sort uses the newest feedback of the type, by `created_at`, then `id`.
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
