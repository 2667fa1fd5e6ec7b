"""Builders of turns and steps, at milliseconds after noon."""

from stores.calls import CallEnd, CallStart
from tests.stores.calls.builders import NOON, call_id, end, start

MILLISECOND = 1000


def at(milliseconds: float) -> int:
    """Return a time after noon."""
    return NOON + round(milliseconds * MILLISECOND)


def turn(
    number: int, thread_id: str | None, started: float, took: float | None = 100, *, is_turn: bool = True
) -> list[CallStart | CallEnd]:
    """Return a turn of a thread, or a step in one, that took `took` milliseconds; None means that it still runs."""
    turn_id = call_id(number) if is_turn else call_id(10_000 + number)
    started_turn = start(number, thread_id=thread_id, turn_id=turn_id, started_at=at(started))
    return [started_turn] if took is None else [started_turn, end(number, ended_at=at(started + took))]
