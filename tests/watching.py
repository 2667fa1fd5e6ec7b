"""Who watches calls, seen from within: subscriptions tell nobody that they have begun."""

import base64
import re
import time

from stores.calls import CallsStore
from stores.calls.events import Cursors, FanOut
from stores.database import Database
from tests.waiting import until


def fan_out_of(calls: CallsStore) -> FanOut:
    """What tells the subscriptions of a store."""
    return calls._call_events._fan_out


async def cursors_over(database: Database) -> Cursors:
    """The cursors of a database's events as one more server over it has them."""
    cursors = Cursors(database)
    await cursors.open()
    return cursors


def readers(calls: CallsStore) -> int:
    """How many subscriptions are told of what happens from now on."""
    return sum(channel.subscribers for channel in fan_out_of(calls)._all_channels())


async def begun(calls: CallsStore, count: int = 1) -> None:
    """Wait until so many subscriptions are."""
    await until(lambda: readers(calls) == count)


async def ended(calls: CallsStore) -> None:
    """Wait until nobody watches any more, and the stream is closed."""
    await until(lambda: not fan_out_of(calls).limiter.in_use and fan_out_of(calls)._follow_task is None)


async def told_up_to(calls: CallsStore, call_id: str) -> None:
    """Wait until the newest event is one of a call."""
    entries = fan_out_of(calls)._log._entries
    await until(lambda: bool(entries) and entries[-1].event.call["id"] == call_id)


def tells_time(told: str) -> bool:
    """Whether anything in a text, decoded or not, has the seconds of about now as MongoDB's moments have them."""
    texts = re.findall(r"(?:[\w+/-]{4})+(?:[\w+/-]{2,3})?", told, re.ASCII)
    contents = [base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_") for text in texts]
    hexadecimal = "".join(f" {content.hex()}" for content in contents) + f" {told.lower()}"
    return any(f"{second:08x}" in hexadecimal for second in range(int(time.time()) - 300, int(time.time()) + 60))
