"""Access to the internal state of subscriptions to calls, which do not report when they start."""

import base64
import re
import time

from stores.calls import CallsStore
from stores.calls.events import Cursors, FanOut
from stores.database import Database
from tests.waiting import until


def fan_out_of(calls: CallsStore) -> FanOut:
    """Return the object that distributes events to the subscriptions of a store."""
    return calls.fan_out


async def cursors_over(database: Database) -> Cursors:
    """Return the event cursors of the database, as a second server would open them."""
    cursors = Cursors(database)
    await cursors.open()
    return cursors


def readers(calls: CallsStore) -> int:
    """Return how many subscriptions receive new events."""
    return sum(
        channel.subscribers for channels in fan_out_of(calls)._channels.values() for channel in channels.values()
    )


async def until_subscribed(calls: CallsStore, count: int = 1) -> None:
    """Wait until that many subscriptions receive events."""
    await until(lambda: readers(calls) == count)


async def until_unsubscribed(calls: CallsStore) -> None:
    """Wait until no subscription is left and the change stream is closed."""
    await until(lambda: not fan_out_of(calls).limiter.in_use and fan_out_of(calls)._follow_task is None)


async def until_event_of(calls: CallsStore, call_id: str) -> None:
    """Wait until the newest event is about this call."""
    entries = fan_out_of(calls).log._entries
    await until(lambda: bool(entries) and entries[-1][0].call["id"] == call_id)


def contains_time(searched: str) -> bool:
    """Return whether a text contains a current time in seconds, as MongoDB timestamps encode it.

    The check covers the text itself and every Base64 part of it.
    """
    texts = re.findall(r"(?:[\w+/-]{4})+(?:[\w+/-]{2,3})?", searched, re.ASCII)
    contents = [base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_") for text in texts]
    hexadecimal = "".join(f" {content.hex()}" for content in contents) + f" {searched.lower()}"
    return any(f"{second:08x}" in hexadecimal for second in range(int(time.time()) - 300, int(time.time()) + 60))
