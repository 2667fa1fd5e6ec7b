"""Hints: likely causes of an empty result of a query on calls, found by comparing its conditions with recent calls."""

from stores.hints.store import MAX_HINTS, CallsCondition, Hint, HintsStore

__all__ = ["MAX_HINTS", "CallsCondition", "Hint", "HintsStore"]
