"""Tests that lists of threads with random turns match a plain Python model, paged in both directions."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import pytest

from stores import threads
from stores.calls import CallsStore
from stores.paging import PageRequest, Row
from stores.query.sort import SortBy
from stores.threads import ThreadsFilter, ThreadsStore
from tests.chance import cases
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.threads.builders import MILLISECOND, at, turn

FIELDS = ("thread_id", "turn_count", "start_time", "last_updated", "first_turn_id", "last_turn_id")
PERCENTILES = ("p50_turn_duration_ms", "p99_turn_duration_ms")
BY_TURNS = ("start_time", "last_updated")
SORTABLE = ("thread_id", "turn_count", "start_time", "last_updated", *PERCENTILES)


@dataclass(frozen=True)
class Turn:
    """A turn in the model; without an end it is running."""

    id: str
    started_at: int
    ended_at: int | None


Stock = dict[str, list[Turn]]


def _percentile(sorted_micros: list[int], q: Fraction) -> float:
    position = q * (len(sorted_micros) - 1)
    below = int(position)
    above = min(below + 1, len(sorted_micros) - 1)
    exact = sorted_micros[below] + (sorted_micros[above] - sorted_micros[below]) * (position - below)
    return float(exact / MILLISECOND)


def _thread(name: str, turns: list[Turn]) -> Row | None:
    ended = [(found.ended_at, found.id, found.ended_at - found.started_at) for found in turns if found.ended_at]
    if not ended:
        return None
    took = sorted(duration for _, _, duration in ended)
    return {
        "thread_id": name,
        "turn_count": len(turns),
        "start_time": min(found.started_at for found in turns),
        "last_updated": max(ended)[0],
        "first_turn_id": min((found.started_at, found.id) for found in turns)[1],
        "last_turn_id": max(ended)[1],
        "p50_turn_duration_ms": _percentile(took, Fraction(1, 2)),
        "p99_turn_duration_ms": _percentile(took, Fraction(99, 100)),
    }


def _threads(stock: Stock, which: ThreadsFilter, sort_by: list[SortBy]) -> list[Row]:
    def counts(found: Turn) -> bool:
        after = which.after_datetime is None or found.started_at > which.after_datetime
        return after and (which.before_datetime is None or found.started_at < which.before_datetime)

    names = [name for name in stock if not which.thread_ids or name in which.thread_ids]
    made = [_thread(name, [found for found in stock[name] if counts(found)]) for name in names]
    down = any(key.descending for key in sort_by[-1:])
    rows = sorted((row for row in made if row), key=lambda row: row["thread_id"], reverse=down)
    for key in reversed(sort_by):
        rows.sort(key=lambda row: row[key.field], reverse=key.descending)
    return rows


async def _stock(calls: CallsStore, times: int) -> Stock:
    """Write sixty threads with few or many turns at a number of different times; few make many values equal."""
    chance, stock, parts = random.Random(6), Stock(), []
    for number in range(600):
        started = chance.randrange(20 * times) / times
        # A thread with little chance has turns in all of the time, others only in a part of it.
        name = f"t{min(chance.randrange(60), chance.randrange(60), 10 + round(2.5 * started)):02}"
        took = None if chance.random() < 0.15 else chance.choice([0.001, 0.5, 1, 2, 3.333, 7, -4])
        parts += turn(number, name, started, took)
        ended = None if took is None else at(started + took)
        stock.setdefault(name, []).append(Turn(call_id(number), at(started), ended))
    await calls.write(parts)
    return stock


def _same(found: list[Row], expected: list[Row]) -> None:
    assert [[row[name] for name in FIELDS] for row in found] == [[row[name] for name in FIELDS] for row in expected]
    for row, other in zip(found, expected, strict=True):
        for name in PERCENTILES:
            assert row[name] == pytest.approx(other[name], rel=1e-14, abs=1e-14)


async def _walk(ask: Callable[..., object], size: int, *, backward: bool) -> list[Row]:
    rows: list[Row] = []
    cursor = None
    while True:
        page = await ask(PageRequest(size, cursor, backward))  # type: ignore[misc] # a page of threads
        rows = page.rows + rows if backward else rows + page.rows
        if not (page.has_previous if backward else page.has_next):
            return rows
        cursor = page.cursor(page.rows[0] if backward else page.rows[-1])


@pytest.mark.parametrize("times", [1, 1000], ids=["few times", "many times"])
@pytest.mark.parametrize("limit", [threads.MAX_COLLECTED, 5], ids=["gathered", "walked"])
async def test_thread_lists_match_the_model(
    threads: ThreadsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch, limit: int, times: int
) -> None:
    stock = await _stock(calls, times)
    monkeypatch.setattr("stores.threads.MAX_COLLECTED", limit)
    chance = random.Random(7)
    for turn_of_it in range(cases(72)):
        monkeypatch.setattr("stores.threads._FIRST_TURNS", chance.choice([0, 10, 100]))
        monkeypatch.setattr("stores.threads._GROWTH", chance.choice([2, 8]))
        monkeypatch.setattr("stores.threads._MAX_TURNS", chance.choice([60, 30_000]))
        monkeypatch.setattr("stores.threads._MAX_TURNS_IN_PERIOD", chance.choice([60, 30_000]))
        monkeypatch.setattr("stores.threads._MAX_CANDIDATES", chance.choice([10, 4_000]))
        first = chance.sample(BY_TURNS if chance.random() < 0.6 else SORTABLE, 1)
        fields = [*dict.fromkeys([*first, *chance.sample(SORTABLE, chance.choice([0, 0, 1, 2]))])]
        sort_by = [SortBy(name, chance.random() < 0.5) for name in fields]
        bounds = sorted(chance.sample(range(-1, 21), 2))
        which = ThreadsFilter(
            at(bounds[0]) if chance.random() < 0.4 else None,
            at(bounds[1]) if chance.random() < 0.4 else None,
            [f"t{n:02}" for n in chance.sample(range(60), 12)] if chance.random() < 0.3 else None,
        )

        async def page(request: PageRequest, which: ThreadsFilter = which, sort_by: list[SortBy] = sort_by) -> object:
            return await threads.page(PROJECT, request, {*FIELDS, *PERCENTILES}, which, sort_by)

        found = await _walk(page, chance.choice([1, 4, 7, 100]), backward=turn_of_it % 2 == 1)

        expected = _threads(stock, which, sort_by)
        _same(found, expected)
        assert await threads.count(PROJECT, which) == len(expected)
