"""Calls: the steps of a traced program. One document per call, written by its start and its end."""

from stores.calls.events import CallEvent
from stores.calls.fields import CallsFilter
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.list_query import CallsStats
from stores.calls.ref_expansion import Expansion
from stores.calls.store import CallsStore, RankedPart

__all__ = ["CallEnd", "CallEvent", "CallStart", "CallsFilter", "CallsStats", "CallsStore", "Expansion", "RankedPart"]
