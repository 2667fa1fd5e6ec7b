"""Traces: the tree, the totals and the roots of all calls with one trace id."""

from stores.traces.store import TracesStore

__all__ = ["TracesStore"]
