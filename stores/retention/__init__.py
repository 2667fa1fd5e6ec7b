"""Retention: what of a project's calls is kept, and the removal of the rest with all that belongs to it."""

from stores.retention.reports import Counts, Outcome, Report, Retention
from stores.retention.rules import GracePeriods, Rule
from stores.retention.store import RetentionStore

__all__ = ["Counts", "GracePeriods", "Outcome", "Report", "Retention", "RetentionStore", "Rule"]
