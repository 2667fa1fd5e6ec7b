"""Costs, tokens, errors and calls of threads are the sums over the traces of their turns; queries select threads."""

from math import fsum
from random import Random
from typing import Any

import pytest

from stores import threads as threads_module
from stores import trace_lists
from stores.calls import CallEnd, CallsStore, CallStart
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest, Row
from stores.query import Query
from stores.query.sort import SortBy
from stores.threads import Period, ThreadsFilter, ThreadsStore
from stores.traces import CALLS_AND_ERRORS, TOKENS_AND_COST, TracesStore
from tests.chance import SEED, cases
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.threads.builders import at, turn

SUMS = ["num_calls", "num_errors", "total_tokens", "total_cost"]
FAILED = Query({"$expr": {"$eq": [{"$getField": "status"}, {"$literal": "error"}]}})


async def written(calls: CallsStore, database: Database, seed: object) -> Random:
    """Write traces of a turn and its steps; some traces have turns of two threads, some turns still run."""
    random = Random(f"{SEED} {seed}")
    await CostsStore(database).create(PROJECT, [NewCost("m", 0.1, 0.0007, effective_date=0)])
    parts: list[CallStart | CallEnd] = []
    for number in range(60):
        of = trace_id(random.randrange(25))
        is_turn = random.random() < 0.6
        begun = start(
            number,
            trace_id=of,
            parent_id=None if is_turn else call_id(random.randrange(60)),
            thread_id=f"thread {random.randrange(8)}" if is_turn else None,
            turn_id=call_id(number) if is_turn else None,
            started_at=at(100 * random.randrange(40)),
        )
        parts.append(begun)
        if random.random() < 0.8:
            usage = {"m": {"prompt_tokens": random.randrange(50), "completion_tokens": random.randrange(9)}}
            summary = random.choice([{}, {"usage": usage}, {"usage": usage, "status_counts": {"success": 1}}])
            failed = random.choice([None, None, "broke"])
            parts.append(end(number, ended_at=begun.started_at + 1000, summary=summary, exception=failed))
    random.shuffle(parts)
    await calls.write(parts)
    await calls.delete(PROJECT, [call_id(random.randrange(60)) for _ in range(5)])
    return random


async def expected_sums(database: Database, period: Period) -> dict[str, Row]:
    """Return the sums of each thread with an ended turn, and whether a turn failed."""
    visible = [call async for call in database.calls.find({"project_id": PROJECT, "visible": True})]
    turns = [
        call
        for call in visible
        if call.get("turn_of")
        and (period.after is None or call["started_at"] > period.after)
        and (period.before is None or call["started_at"] < period.before)
    ]
    keys = sorted({(PROJECT, call["trace_id"]) for call in turns})
    # Counts are selected too, so usage is read from calls and not from stored totals.
    of_trace = await TracesStore(database).totals(keys, TOKENS_AND_COST | CALLS_AND_ERRORS)
    found: dict[str, Row] = {}
    for thread_id in {call["turn_of"] for call in turns}:
        of_thread = [call for call in turns if call["turn_of"] == thread_id]
        if not any("ended_at" in call for call in of_thread):
            continue
        totals = [of_trace[key] for key in {(PROJECT, call["trace_id"]) for call in of_thread}]
        usage = [each["usage"] for each in totals]
        costs = [each["cost"] for each in usage if each["cost"] is not None]
        found[thread_id] = {
            "num_calls": sum(each["num_calls"] for each in totals),
            "num_errors": sum(each["num_errors"] for each in totals),
            "total_tokens": sum(each["total_tokens"] for each in usage),
            "total_cost": fsum(costs) if costs else None,
            "failed": any(call["status"] == "error" for call in of_thread),
            "turn_count": len(of_thread),
        }
    return found


async def all_pages(threads: ThreadsStore, *arguments: Any, backward: bool = False) -> list[Row]:
    found: list[Row] = []
    cursor = None
    while True:
        page = await threads.page(PROJECT, PageRequest(3, cursor, backward), {"turn_count"}, *arguments)
        found = [*page.rows, *found] if backward else [*found, *page.rows]
        if not (page.has_previous if backward else page.has_next):
            return found
        cursor = page.start_cursor if backward else page.end_cursor


@pytest.mark.parametrize("seed", range(cases(6)))
@pytest.mark.parametrize("period", [Period(), Period(at(500), at(3000))], ids=["all", "period"])
async def test_sums_sorts_and_queries_agree_with_the_oracle(
    threads: ThreadsStore, calls: CallsStore, database: Database, seed: int, period: Period
) -> None:
    await written(calls, database, seed)
    expected = await expected_sums(database, period)
    which = ThreadsFilter(period.after, period.before)

    keys = [(PROJECT, period, thread_id) for thread_id in expected]
    counts, usage = await threads.counts(keys), await threads.usage(keys)
    for key in keys:
        shown = {name: (counts if name in CALLS_AND_ERRORS else usage)[key][name] for name in SUMS}
        assert shown == {name: expected[key[2]][name] for name in SUMS}

    for query in (None, FAILED):
        listed = {name: row for name, row in expected.items() if query is None or row["failed"]}
        assert await threads.count(PROJECT, which, query) == len(listed)
        assert {row["id"] for row in await all_pages(threads, which, None, query)} == listed.keys()
        for name in SUMS:
            for descending in (False, True):
                values = [(row[name], each) for each, row in listed.items() if row[name] is not None]
                nulls = [each for each, row in listed.items() if row[name] is None]
                order = [each for _, each in sorted(values, reverse=descending)] + sorted(nulls, reverse=descending)
                arguments = which, [SortBy(name, descending)], query
                found = await all_pages(threads, *arguments)
                assert [row["id"] for row in found] == order
                assert [row["turn_count"] for row in found] == [listed[row["id"]]["turn_count"] for row in found]
                assert await all_pages(threads, *arguments, backward=True) == found


async def test_users_are_distinct_and_one_thread_is_found(
    threads: ThreadsStore, calls: CallsStore, database: Database
) -> None:
    await calls.write([*turn(1, "t", 0), *turn(2, "t", 10), *turn(3, "running", 20, None)])
    for number, user in ((1, "zoe"), (2, "ada")):
        await database.calls.update_one({"project_id": PROJECT, "id": call_id(number)}, {"$set": {"user_id": user}})

    key = (PROJECT, Period(), "t")
    assert (await threads.counts([key]))[key]["users"] == ["ada", "zoe"]
    found = await threads.one(PROJECT, "t", {"turn_count"})
    assert found is not None
    assert found["turn_count"] == 2
    assert await threads.one(PROJECT, "running", set()) is None
    assert await threads.one(PROJECT, "", set()) is None


async def test_bad_input_names_what_to_change(
    threads: ThreadsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([*turn(1, "t", 0), *turn(2, "t", 10)])
    unknown = Query({"$expr": {"$eq": [{"$getField": "colour"}, {"$literal": 1}]}})
    with pytest.raises(BadInputError) as refused:
        await threads.page(PROJECT, PageRequest(1), set(), None, None, unknown)
    assert str(refused.value.argument).startswith("query.json")
    monkeypatch.setattr(trace_lists, "MAX_TRACES", 1)
    monkeypatch.setattr(threads_module, "MAX_TRACES", 1)
    with pytest.raises(BadInputError, match=r"more than 1 traces have turns, .* or sort by last_updated$"):
        await threads.page(PROJECT, PageRequest(1), set(), None, [SortBy("num_calls")])
    with pytest.raises(BadInputError, match=r"more than 1 traces, the limit; request fewer threads$"):
        await threads.counts([(PROJECT, Period(), "t")])


async def test_sums_of_many_threads_take_few_commands(
    threads: ThreadsStore, calls: CallsStore, commands: Commands
) -> None:
    await calls.write([part for number in range(30) for part in turn(number, f"t{number}", number)])
    keys = [(PROJECT, Period(), f"t{number}") for number in range(30)]
    commands.sent.clear()
    await threads.counts(keys)
    await threads.usage(keys)

    assert len(commands.names) <= 5
