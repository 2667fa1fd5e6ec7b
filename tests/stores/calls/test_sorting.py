"""Tests of sorts by every column in both directions, and of paging through them."""

import asyncio
import random
from typing import Any

import pytest

from stores.calls import CallEnd, CallsFilter, CallsStore, CallStart
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest
from stores.query.sort import MAX_KEYS, SortBy
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id

PATHS = {
    "summary.weave.status": "status",
    "summary.weave.latency_ms": "latency_ms",
    "summary.weave.trace_name": "trace_name",
    "startedAt": "started_at",
}
COLUMNS = [
    *("id", "project_id", "op_name", "display_name", "trace_id", "parent_id", "thread_id", "turn_id"),
    *("started_at", "ended_at", "exception", "wb_user_id", "wb_run_id", "wb_run_step", "wb_run_step_end"),
    *("status", "latency_ms", "trace_name", "deleted_at", *PATHS),
]
SORTS = [
    *([SortBy(name, descending)] for name in COLUMNS for descending in (False, True)),
    [SortBy("status"), SortBy("started_at", descending=True)],
    [SortBy("display_name"), SortBy("latency_ms", descending=True), SortBy("exception")],
    [SortBy("op_name", descending=True), SortBy("wb_run_step"), SortBy("id", descending=True)],
]


def crowd(count: int = 15) -> list[CallStart | CallEnd]:
    """Return calls in random order, with many equal and many missing values."""
    dice = random.Random(3)
    parts: list[CallStart | CallEnd] = []
    for number in dice.sample(range(count), count):
        maybe = [None, "b", "B", "é", "🧵", ""]
        parts.append(
            start(
                number,
                op_name=dice.choice(["a", "b", "é"]),
                trace_id=trace_id(dice.randint(1, 3)),
                parent_id=dice.choice([None, call_id(90), call_id(91)]),
                started_at=NOON + dice.randint(-3, 3),
                display_name=dice.choice(maybe),
                thread_id=dice.choice(maybe),
                turn_id=dice.choice(maybe),
                wb_user_id=dice.choice(maybe),
                wb_run_id=dice.choice([None, "acme/chat/b", "acme/chat/B", "acme/chat/é"]),
                wb_run_step=dice.choice([None, 0, 1, 2**62]),
            )
        )
        if dice.random() < 0.7:
            ended_at = NOON + dice.choice([0, 0, 5_000, -(10**9)])
            step = dice.choice([None, 0, 7])
            parts.append(end(number, exception=dice.choice(maybe), ended_at=ended_at, wb_run_step_end=step))
    return parts


def in_order(documents: list[dict[str, Any]], sort_by: list[SortBy]) -> list[str]:
    """Return the ids as Python sorts them: a stable sort for each key from last to first, nulls last."""
    rows = sorted(documents, key=lambda row: row["id"], reverse=any(key.descending for key in sort_by[-1:]))
    for key in reversed(sort_by):
        path = PATHS.get(key.field, key.field)
        present = [row for row in rows if row.get(path) is not None]
        absent = [row for row in rows if row.get(path) is None]
        rows = sorted(present, key=lambda row: row[path], reverse=key.descending) + absent
    return [row["id"] for row in rows]


async def walk(
    calls: CallsStore, size: int, sort_by: list[SortBy] | None, *, backward: bool = False, project: str = PROJECT
) -> list[str]:
    """Return the ids of a whole list, read page by page, in list order."""
    ids: list[str] = []
    cursor = None
    while True:
        page = await calls.page(project, PageRequest(size, cursor, backward), {"id"}, None, sort_by)
        found = [row["id"] for row in page.rows]
        assert len(found) <= size
        ids = found + ids if backward else ids + found
        if not (page.has_previous if backward else page.has_next):
            return ids
        cursor = page.cursor(page.rows[0 if backward else -1])


@pytest.mark.parametrize(
    "sort_by", SORTS, ids=lambda keys: " ".join(f"{'-' * key.descending}{key.field}" for key in keys)
)
async def test_paging_returns_every_row_once_in_pythons_order(
    calls: CallsStore, database: Database, sort_by: list[SortBy]
) -> None:
    await calls.write(crowd())
    expected = in_order(await database.calls.find({}).to_list(None), sort_by)

    assert [row["id"] for row in (await calls.page(PROJECT, PageRequest(), {"id"}, None, sort_by)).rows] == expected
    for size in (1, 4):  # the last page of four is not full
        assert await walk(calls, size, sort_by) == expected
        assert await walk(calls, size, sort_by, backward=True) == expected


async def test_default_sort_is_oldest_first_then_by_id(calls: CallsStore) -> None:
    await calls.write([start(number, started_at=NOON + number % 2) for number in range(6)])

    expected = [call_id(number) for number in (0, 2, 4, 1, 3, 5)]
    assert await walk(calls, 4, None) == expected
    assert await walk(calls, 4, []) == expected


async def test_paging_returns_each_row_once_during_writes_and_deletes(calls: CallsStore) -> None:
    await calls.write([part for number in range(0, 600, 2) for part in (start(number), end(number))])
    kept = [call_id(number) for number in range(0, 600, 4)]
    rounds, walking = 0, True

    async def disturb() -> None:
        nonlocal rounds
        dice = random.Random(11)
        while walking:
            rounds += 1
            await calls.write([start(dice.randrange(1, 600, 2)) for _ in range(3)])
            await calls.delete(PROJECT, [call_id(dice.randrange(2, 600, 4))])

    disturbance = asyncio.create_task(disturb())
    walks: list[list[str]] = []
    # On a busy machine, few writes end during one walk in each order.
    while rounds <= 10 and not disturbance.done():
        for sort_by in (None, [SortBy("started_at", descending=True)], [SortBy("latency_ms"), SortBy("started_at")]):
            walks += [await walk(calls, 7, sort_by), (await walk(calls, 7, sort_by, backward=True))]
    walking = False
    await disturbance

    for ids in walks:
        assert len(ids) == len(set(ids))
        assert set(kept) <= set(ids)
    assert [call for call in walks[0] if call in set(kept)] == kept
    assert [call for call in walks[2] if call in set(kept)] == kept[::-1]


async def test_ten_thousand_calls_are_read_once_each_during_writes(calls: CallsStore) -> None:
    mine = [call_id(number) for number in range(10_000)]
    for at in range(0, 10_000, 1_000):
        await calls.write([start(number) for number in range(at, at + 1_000)])

    async def write_more() -> None:
        for number in range(50):
            await calls.write([start(number, id=call_id(50_000 + number)) for number in range(number, 10_000, 500)])

    ids, _ = await asyncio.gather(walk(calls, 1_000, None), write_more())

    assert len(ids) == len(set(ids))
    assert [call for call in ids if call <= mine[-1]] == mine


@pytest.mark.parametrize(
    ("sort_by", "argument", "reason"),
    [
        ([SortBy("statuss")], "sort_by.0.field", "did you mean status"),
        ([SortBy("id"), SortBy("storage_size_bytes")], "sort_by.1.field", "there is no field"),
        ([SortBy("$where")], "sort_by.0.field", "the fields are id, project_id"),
        ([SortBy("op_name"), SortBy("op_name")], "sort_by.1.field", "named twice"),
        ([SortBy("status"), SortBy("summary.weave.status")], "sort_by.1.field", "named twice"),
        ([SortBy("id")] * (MAX_KEYS + 1), "sort_by", "the limit is 16"),
    ],
)
async def test_invalid_sort_is_refused(calls: CallsStore, sort_by: list[SortBy], argument: str, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        await calls.page(PROJECT, PageRequest(), {"id"}, CallsFilter(), sort_by)

    assert refused.value.argument == argument
    assert reason in refused.value.message
