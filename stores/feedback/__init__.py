"""Feedback: what people and programs say of calls and objects, in reactions, notes, annotations and more."""

from stores.feedback.inputs import NewFeedback
from stores.feedback.store import FeedbackStats, FeedbackStore

__all__ = ["FeedbackStats", "FeedbackStore", "NewFeedback"]
