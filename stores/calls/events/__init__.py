"""Events of calls: live subscriptions over a shared change stream, resumable without gaps at any server."""

from stores.calls.events.event import CallEvent, Cursors, EventFilter
from stores.calls.events.fan_out import MAX_BYTES as MAX_EVENT_BYTES
from stores.calls.events.fan_out import MAX_SUBSCRIBERS, FanOut
from stores.calls.events.service import CallEvents

__all__ = ["MAX_EVENT_BYTES", "MAX_SUBSCRIBERS", "CallEvent", "CallEvents", "Cursors", "EventFilter", "FanOut"]
