"""Tests that threads are computed from their turns."""

from itertools import count
from typing import Any

import pytest

from stores import paging
from stores.calls import CallsStore
from stores.concurrency import time_slices
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import Page, PageRequest, Row
from stores.query.sort import SortBy
from stores.threads import Period, ThreadsFilter, ThreadsStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.threads.builders import at, turn
from tests.waiting import Turns, another_task

ALL = {
    "thread_id",
    "turn_count",
    "start_time",
    "last_updated",
    "first_turn_id",
    "last_turn_id",
    "p50_turn_duration_ms",
    "p99_turn_duration_ms",
}


async def _read(
    threads: ThreadsStore, which: ThreadsFilter | None = None, sort_by: list[SortBy] | None = None
) -> list[Row]:
    page = await threads.page(PROJECT, PageRequest(), ALL, which, sort_by)
    assert await threads.count(PROJECT, which) == len(page.rows)
    return [{name: row[name] for name in ALL} for row in page.rows]


def _values_of(rows: list[Row], *names: str) -> list[Any]:
    return [tuple(row[name] for name in names) for row in rows]


async def test_thread_is_computed_from_its_turns(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(turn(3, "t", 0, 100) + turn(2, "t", 1000, 300) + turn(1, "t", 2000, None))

    assert await _read(threads) == [
        {
            "thread_id": "t",
            "turn_count": 3,
            "start_time": at(0),
            "last_updated": at(1300),
            "first_turn_id": call_id(3),
            "last_turn_id": call_id(2),
            "p50_turn_duration_ms": 200.0,
            "p99_turn_duration_ms": 298.0,
        }
    ]


@pytest.mark.parametrize("sort_by", [None, [SortBy("p99_turn_duration_ms")]], ids=["of a page", "of all"])
async def test_percentiles_lie_between_adjacent_turns(
    threads: ThreadsStore, calls: CallsStore, sort_by: list[SortBy] | None
) -> None:
    expected: dict[str, tuple[list[float], float, float]] = {
        "one": ([7], 7.0, 7.0),
        "microseconds": ([0.001, 0.002], 0.0015, 0.00199),
        "no whole milliseconds": ([1999.5], 1999.5, 1999.5),
        "ended before the start": ([-1500, 1500], 0.0, 1470.0),
        "in no order": ([3, 1, 2], 2.0, 2.98),
        "just at a turn": ([*range(101)], 50.0, 99.0),
        "between two": ([*range(1, 201)], 100.5, 198.01),
        "all the same": ([5] * 40, 5.0, 5.0),
    }
    numbers = count()
    parts = [
        turn(next(numbers), thread_id, place, duration)
        for thread_id, (took, _, _) in expected.items()
        for place, duration in enumerate([*took, None])
    ]
    await calls.write([part for both in parts for part in both])

    found = {row["thread_id"]: row for row in await _read(threads, None, sort_by)}

    assert found.keys() == expected.keys()
    for thread_id, (_, p50, p99) in expected.items():
        assert found[thread_id]["p50_turn_duration_ms"] == p50
        assert found[thread_id]["p99_turn_duration_ms"] == pytest.approx(p99, rel=1e-15)


async def test_only_turns_with_a_thread_id_count(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(
        [
            *turn(1, "t", 0),
            *turn(2, "t", 1, is_turn=False),
            *turn(3, "steps alone", 2, is_turn=False),
            *turn(4, "", 3),
            *turn(5, None, 4),
            start(6, thread_id="no turn", started_at=at(5)),
            end(6),
        ]
    )

    assert _values_of(await _read(threads), "thread_id", "turn_count") == [("t", 1)]


async def test_thread_without_a_finished_turn_is_not_listed(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(turn(1, "running", 0, None) + turn(2, "running", 1, None) + turn(3, "done", 2))

    assert _values_of(await _read(threads), "thread_id") == [("done",)]

    await calls.write([end(2, ended_at=at(50))])

    assert _values_of(await _read(threads), "thread_id", "turn_count", "last_turn_id") == [
        ("done", 1, call_id(3)),
        ("running", 2, call_id(2)),
    ]


async def test_deleted_turns_disappear(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(turn(1, "t", 0, 100) + turn(2, "t", 500, 300) + turn(3, "u", 0))

    await calls.delete(PROJECT, [call_id(2), call_id(3)])

    assert _values_of(await _read(threads), "thread_id", "turn_count", "last_turn_id", "p99_turn_duration_ms") == [
        ("t", 1, call_id(1), 100.0)
    ]


async def test_repeated_start_moves_its_turn(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(turn(1, "old", 0) + turn(2, "t", 0) + turn(3, "t", 1))

    await calls.write([start(1, thread_id="new", turn_id=call_id(1), started_at=at(0))])
    await calls.write([start(2, thread_id="t", turn_id=call_id(3), started_at=at(0))])

    assert _values_of(await _read(threads), "thread_id", "turn_count", "first_turn_id") == [
        ("t", 1, call_id(3)),
        ("new", 1, call_id(1)),
    ]


async def test_end_before_its_start_becomes_a_turn_with_the_start(threads: ThreadsStore, calls: CallsStore) -> None:
    started, ended = turn(1, "t", 0, 40)
    await calls.write([ended])
    assert await _read(threads) == []

    await calls.write([started])

    assert _values_of(await _read(threads), "thread_id", "p50_turn_duration_ms") == [("t", 40.0)]


async def test_simultaneous_turns_are_ordered_by_id(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(turn(2, "t", 0, 10) + turn(1, "t", 0, 10) + turn(3, "t", 0, 10))

    assert _values_of(await _read(threads), "first_turn_id", "last_turn_id") == [(call_id(1), call_id(3))]


async def test_time_filter_selects_the_turns_that_count(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(turn(1, "t", 0, 100) + turn(2, "t", 600, 200) + turn(3, "t", 601, 300) + turn(4, "old", 0))

    after = await _read(threads, ThreadsFilter(after_datetime=at(0)))
    later = await _read(threads, ThreadsFilter(after_datetime=at(600)))
    before = await _read(threads, ThreadsFilter(before_datetime=at(600)))
    between = await _read(threads, ThreadsFilter(at(0), at(601), ["t", "old"]))

    names = ("thread_id", "turn_count", "start_time", "p50_turn_duration_ms", "first_turn_id", "last_turn_id")
    assert _values_of(after, *names) == [("t", 2, at(600), 250.0, call_id(2), call_id(3))]
    assert _values_of(later, *names) == [("t", 1, at(601), 300.0, call_id(3), call_id(3))]
    assert _values_of(before, *names) == [
        ("t", 1, at(0), 100.0, call_id(1), call_id(1)),
        ("old", 1, at(0), 100.0, call_id(4), call_id(4)),
    ]
    assert _values_of(between, *names) == [("t", 1, at(600), 200.0, call_id(2), call_id(2))]
    with pytest.raises(BadInputError, match="nothing can match") as refused:
        await _read(threads, ThreadsFilter(after_datetime=at(5), before_datetime=at(5)))
    assert refused.value.argument == "filter.after_datetime"


async def test_threads_of_another_project_are_not_found(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write([start(1, project_id="acme/other", thread_id="t", turn_id=call_id(1))])
    await calls.write([end(1, project_id="acme/other")])

    assert await _read(threads) == []
    assert await _read(threads, ThreadsFilter(thread_ids=["t"])) == []


async def test_threads_are_filtered_by_exact_ids(threads: ThreadsStore, calls: CallsStore) -> None:
    odd = ["$t", "a.b", "a\0b", "'\"`", "😀", "x" * 1024, " ", "$where", "null", "{}", "%00", "T", "t"]
    await calls.write([part for number, name in enumerate(odd) for part in turn(number, name, number)])

    all_of_them = await _read(threads)
    each = [await _read(threads, ThreadsFilter(thread_ids=[name])) for name in odd]
    with_bytes = await _read(threads, ThreadsFilter(thread_ids=["$t", "$t", "", "nowhere"]))

    assert _values_of(all_of_them, "thread_id") == [(name,) for name in reversed(odd)]
    assert [_values_of(rows, "thread_id", "last_turn_id") for rows in each] == [
        [(name, call_id(number))] for number, name in enumerate(odd)
    ]
    assert _values_of(with_bytes, "thread_id") == [("$t",)]
    assert _values_of(await _read(threads, ThreadsFilter(thread_ids=[])), "thread_id") == _values_of(
        all_of_them, "thread_id"
    )


async def test_unsupported_sort_field_is_refused_by_name(threads: ThreadsStore) -> None:
    for name in ("first_turn_id", "last_turn_id", "id", "turns", "p95_turn_duration_ms", "", "a.b"):
        with pytest.raises(BadInputError, match=r"there is no field|did you mean") as refused:
            await threads.page(PROJECT, PageRequest(), ALL, sort_by=[SortBy("turn_count"), SortBy(name)])
        assert refused.value.argument == "sort_by.1.field"


async def test_list_of_threads_has_a_limit(threads: ThreadsStore) -> None:
    which = ThreadsFilter(thread_ids=[f"t{number}" for number in range(10_000)])

    for asking in (threads.page(PROJECT, PageRequest(), ALL, which), threads.count(PROJECT, which)):
        with pytest.raises(BadInputError, match="has 10,000 members; the limit is 1,000") as refused:
            await asking
        assert refused.value.argument == "filter.thread_ids"


async def test_page_is_one_or_two_commands_and_computes_only_selected_fields(
    threads: ThreadsStore, calls: CallsStore, commands: Commands
) -> None:
    await calls.write([part for number in range(50) for part in turn(number, f"t{number % 20}", number)])
    commands.sent.clear()

    await threads.page(PROJECT, PageRequest(), ALL)
    whole = str(commands.last("aggregate")["pipeline"])
    await threads.page(PROJECT, PageRequest(), {"thread_id"}, sort_by=[SortBy("thread_id")])
    bare = str(commands.last("aggregate")["pipeline"])

    marks = "find"
    assert commands.names == ["aggregate", "aggregate", marks, "aggregate"]
    first, second = [body for _, body in commands.sent][:2]
    assert first["lsid"] == second["lsid"]
    assert first["readConcern"]["level"] == second["readConcern"]["level"] == "snapshot"
    for part in ("$lookup", "$sortArray", "turn_count", "start_time", "first_turn_id"):
        assert part in whole
        assert part not in bare


@pytest.mark.parametrize("sort_by", [None, [SortBy("p50_turn_duration_ms", descending=True)]], ids=["page", "all"])
async def test_thread_with_many_turns_is_exact(
    threads: ThreadsStore,
    calls: CallsStore,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    sort_by: list[SortBy] | None,
) -> None:
    monkeypatch.setattr("stores.threads.MAX_COLLECTED", 20)
    parts = [turn(number, "few" if number < 20 else "many", number, 1 + number) for number in range(80)]
    await calls.write([part for both in [*parts, turn(99, "many", 99, None)] for part in both])
    commands.sent.clear()

    found = await _read(threads, None, sort_by)
    few = await _read(threads, ThreadsFilter(thread_ids=["few"]), sort_by)

    names = ("thread_id", "turn_count", "p50_turn_duration_ms", "last_turn_id")
    assert _values_of(found, *names) == [("many", 61, 50.5, call_id(79)), ("few", 20, 10.5, call_id(19))]
    assert _values_of(few, *names) == [("few", 20, 10.5, call_id(19))]
    # The first page of the default order first finds the threads of the last turns.
    assert commands.names.count("aggregate") == (5 if sort_by else 6)


@pytest.mark.not_on("cluster", reason="the plan names no keys that a lookup on other shards examined")
async def test_thread_with_many_turns_does_not_slow_the_others(
    threads: ThreadsStore, calls: CallsStore, database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.threads.MAX_COLLECTED", 20)
    many = [turn(number, "many", number) for number in range(30)]
    few = [turn(number, f"few {number % 5}", number) for number in range(100, 200)]
    await calls.write([part for both in [*many, *few] for part in both])

    page = await threads.page(PROJECT, PageRequest(), {"p50_turn_duration_ms"})
    command = {"aggregate": "calls", "pipeline": commands.last("aggregate")["pipeline"], "cursor": {}}
    explained = await database.calls.database.command("explain", command, verbosity="executionStats")

    assert {row["p50_turn_duration_ms"] for row in page.rows} == {100.0}
    [walk] = [stage for stage in explained["stages"] if "$lookup" in stage]
    assert walk["collectionScans"] == 0
    assert 30 <= walk["totalKeysExamined"] <= 30 + 7  # and one index seek for each thread


async def test_last_turn_is_found_without_sorting(threads: ThreadsStore, calls: CallsStore, commands: Commands) -> None:
    # A sort with a limit of one replaces its result with each turn in start order, which takes seconds for 100,000.
    await calls.write([part for number in range(50) for part in turn(number, "t", number, 100 - 2 * (number % 3))])

    [thread] = (await threads.page(PROJECT, PageRequest(), {"last_turn_id"})).rows
    [lookup] = [stage["$lookup"] for stage in commands.last("aggregate")["pipeline"] if "$lookup" in stage]

    assert thread["last_turn_id"] == call_id(48)
    assert [list(stage) for stage in lookup["pipeline"]] == [["$match"], ["$group"]]


async def test_running_turns_are_never_the_last(threads: ThreadsStore, calls: CallsStore) -> None:
    await calls.write(turn(2, "t", 0, 10) + turn(1, "t", 5, None) + turn(9, "t", 7, None) + turn(3, "t", 1, -4))

    assert _values_of(await _read(threads), "last_turn_id", "last_updated") == [(call_id(2), at(10))]


async def test_calls_and_turns_of_many_threads_are_read_together(
    threads: ThreadsStore, calls: CallsStore, commands: Commands
) -> None:
    parts = [turn(number, f"t{number % 3}", number, is_turn=number % 2 == 0) for number in range(60)]
    await calls.write([part for both in parts for part in both])
    later = Period(after=at(5))
    keys = [(PROJECT, later, f"t{number}") for number in range(3)]
    commands.sent.clear()

    time_slices = await threads.turns.pages(keys, frozenset({"id"}), PageRequest(size=2))
    all_calls = await threads.calls.pages(keys, frozenset({"id"}), PageRequest(size=3))
    counts = await threads.turns.count(keys), await threads.calls.count(keys)

    # The threads have more rows than the shared `find` accepts, so an `aggregate` with a lookup per thread follows. One
    # `aggregate` counts the turns, of which there are few; a second one with lookups counts the calls.
    assert commands.names == ["find", "aggregate"] * 2 + ["aggregate"] * 3
    assert {key[2]: [row["id"] for row in page.rows] for key, page in time_slices.items()} == {
        "t0": [call_id(6), call_id(12)],
        "t1": [call_id(10), call_id(16)],
        "t2": [call_id(8), call_id(14)],
    }
    assert all(page.has_next for page in time_slices.values())
    assert [row["id"] for row in all_calls[keys[1]].rows] == [call_id(1), call_id(4), call_id(7)]
    assert [list(count.values()) for count in counts] == [[9, 9, 9], [20, 20, 20]]


async def test_large_thread_pages_yield_to_other_requests(
    threads: ThreadsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([part for number in range(20) for part in turn(number, f"t{number:02}", number)])
    monkeypatch.setattr(time_slices, "SLICE_SECONDS", 0)
    monkeypatch.setattr(time_slices, "BATCH_SIZE", 1)
    seen: list[int] = []
    of_others = Turns()
    page_of = paging.build_page

    def seen_page_of(*given: Any) -> Page:
        seen.append(of_others.count)
        return page_of(*given)

    monkeypatch.setattr(paging, "build_page", seen_page_of)
    async with another_task(of_others):
        pages = await threads.turns.pages(
            [(PROJECT, Period(), f"t{n:02}") for n in range(20)], frozenset({"id"}), PageRequest()
        )

    assert [[row["id"] for row in page.rows] for page in pages.values()] == [[call_id(n)] for n in range(20)]
    assert len(set(seen)) == 20
