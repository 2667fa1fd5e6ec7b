"""Turns and steps as tests write them: at whole milliseconds after noon."""

from stores.calls import CallEnd, CallStart
from tests.stores.calls.builders import NOON, call_id, end, start

MILLISECOND = 1000


def at(milliseconds: float) -> int:
    """A moment after noon."""
    return NOON + round(milliseconds * MILLISECOND)


def turn(
    number: int, thread_id: str | None, started: float, took: float | None = 100, *, is_turn: bool = True
) -> list[CallStart | CallEnd]:
    """A turn of a thread (or a step in one) that took so many milliseconds; None is one that runs."""
    turn_id = call_id(number) if is_turn else call_id(10_000 + number)
    begun = start(number, thread_id=thread_id, turn_id=turn_id, started_at=at(started))
    return [begun] if took is None else [begun, end(number, ended_at=at(started + took))]
