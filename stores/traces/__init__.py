"""Traces: what calls of one trace id make together."""

from stores.traces.store import TracesStore

__all__ = ["TracesStore"]
