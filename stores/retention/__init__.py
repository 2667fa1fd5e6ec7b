"""Retention: the rule for which calls of a project to keep, and the sweep that deletes the others with their data."""

from stores.retention.rules import Counts, GracePeriods, Outcome, Report, Retention, Rule
from stores.retention.store import RetentionStore

__all__ = ["Counts", "GracePeriods", "Outcome", "Report", "Retention", "RetentionStore", "Rule"]
