"""Calls: the steps of a program's traces, each a document that its start and its end write."""

from stores.calls.events import CallEvent
from stores.calls.filters import CallsFilter
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.ref_expansion import Expansion
from stores.calls.store import CallsStats, CallsStore

__all__ = ["CallEnd", "CallEvent", "CallStart", "CallsFilter", "CallsStats", "CallsStore", "Expansion"]
