"""Feedback on calls and objects: reactions, notes, annotations, scores and other types."""

from stores.feedback.inputs import NewFeedback
from stores.feedback.store import MAX_BATCH, FeedbackStats, FeedbackStore, feedback_of_types

__all__ = ["MAX_BATCH", "FeedbackStats", "FeedbackStore", "NewFeedback", "feedback_of_types"]
