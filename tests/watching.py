"""Who watches calls, seen from within: subscriptions tell nobody that they have begun."""

from stores.calls import CallsStore
from stores.calls.watching import FanOut
from tests.waiting import until


def fan_out_of(calls: CallsStore) -> FanOut:
    """What tells the subscriptions of a store."""
    return calls._watching._fan_out


def readers(calls: CallsStore) -> int:
    """How many subscriptions are told of what happens from now on."""
    return sum(channel.subscribers for channel in fan_out_of(calls)._all())


async def begun(calls: CallsStore, count: int = 1) -> None:
    """Wait until so many subscriptions are."""
    await until(lambda: readers(calls) == count)


async def ended(calls: CallsStore) -> None:
    """Wait until nobody watches any more, and the stream is closed."""
    await until(lambda: not fan_out_of(calls).count and fan_out_of(calls)._following is None)


async def told_up_to(calls: CallsStore, call_id: str) -> None:
    """Wait until the newest event is one of a call."""
    entries = fan_out_of(calls)._log._entries
    await until(lambda: bool(entries) and entries[-1].event.call["id"] == call_id)
