"""Comparisons of LoomQL's way to an answer with a hand-written one."""

from collections.abc import Callable
from typing import Any

from tests.benchmarks.report import Must, Row
from tests.benchmarks.timing import Clock, compare


def _as_it_is(found: object) -> object:
    return found


def compared_row(
    name: str,
    by_hand: Callable[[], object],
    loomql: Callable[[], object],
    *,
    must: Must,
    clock: Clock,
    rounds: int,
    comparable: Callable[[Any], object] = _as_it_is,
) -> Row:
    """Measure both ways by a clock, in turns, and hold their ratio to a bound; the hand-written way is the floor.

    Raises:
        AssertionError: the answers differ after `comparable`, or they are empty.
    """
    found = comparable(loomql())
    if found != comparable(by_hand()) or not found:
        raise AssertionError(f"{name}: the two sides differ, or nothing was found")
    floor, ours = compare(by_hand, loomql, clock, rounds)
    return Row(loomql_ms=1000 * ours, floor_ms=1000 * floor, ratio=ours / floor).held_to(must, ours / floor)
