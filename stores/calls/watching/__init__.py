"""Watching calls: what happens to them, told as it happens, and resumed without a gap at any server."""

from stores.calls.watching.cursors import Cursors
from stores.calls.watching.events import CallEvent
from stores.calls.watching.fan_out import MAX_SUBSCRIBERS, FanOut
from stores.calls.watching.log import MAX_BYTES as MAX_EVENT_BYTES
from stores.calls.watching.lookups import Lookups
from stores.calls.watching.questions import Question
from stores.calls.watching.watch import Watching

__all__ = [
    "MAX_EVENT_BYTES",
    "MAX_SUBSCRIBERS",
    "CallEvent",
    "Cursors",
    "FanOut",
    "Lookups",
    "Question",
    "Watching",
]
