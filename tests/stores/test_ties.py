"""Tests that every list, page by page in both directions, has the order of a sort in Python, whose ties end in id.

The id follows the direction of the last key. Values repeat, so that most pages begin and end within a tie.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.costs import CostsStore, NewCost
from stores.database import Collection, Database
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from stores.paging import Page, PageRequest
from stores.projects import ProjectsStore
from stores.query.sort import SortBy
from stores.tables import TablesStore
from stores.threads import ThreadsStore
from stores.trace_lists import TraceListsStore
from tests.chance import SEED, cases
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.feedback.builders import call_ref, feedback
from tests.stores.objects.builders import version

Read = Callable[[PageRequest, Sequence[SortBy]], Awaitable[Page]]
Values = dict[str, dict[str, Any]]
"""Values of a field by the id of the row, by field."""

SIZE: Final = 24


async def calls_list(database: Database, rng: random.Random) -> Read:
    store = CallsStore(database)
    parts: list[CallStart | CallEnd] = []
    for number in range(SIZE):
        started_at = NOON + rng.randrange(3) * SECOND
        op_name = rng.choice(["a", "b", "weave:///acme/chat/op/c:v1"])
        inputs = rng.choice([{}, {"a": 1}, {"a": 2}])
        parts.append(start(number, started_at=started_at, op_name=op_name, inputs=inputs))
        if rng.random() < 0.8:
            summary = rng.choice([{}, {"usage": {"m": {"total_tokens": rng.randrange(2)}}}])
            exception = rng.choice([None, None, "it failed"])
            parts.append(end(number, ended_at=started_at + rng.randrange(3), summary=summary, exception=exception))
    await store.write(parts)
    about = [feedback({"mark": rng.randrange(3)}, weave_ref=call_ref(number)) for number in range(0, SIZE, 2)]
    await FeedbackStore(database).create(about)
    return lambda request, sort_by: store.page(PROJECT, request, {"id", "inputs"}, sort_by=sort_by)


async def objects_list(database: Database, rng: random.Random) -> Read:
    store = ObjectsStore(database)
    for number in range(SIZE):
        await store.create(version(number, object_id=rng.choice("abc")))
    await shuffle(database.objects, rng, created_at=[NOON, NOON + 1], kind=["object", "op"], size_bytes=[1, 2])
    return lambda request, sort_by: store.page(PROJECT, request, {"id"}, sort_by=sort_by)


async def feedback_list(database: Database, rng: random.Random) -> Read:
    store = FeedbackStore(database)
    await store.create([feedback({"mark": rng.choice([1, 2, None])}) for _ in range(SIZE)])
    await shuffle(database.feedback, rng, created_at=[NOON, NOON + 1], feedback_type=["custom", "other"])
    return lambda request, sort_by: store.page(PROJECT, request, {"id"}, sort_by=sort_by)


async def costs_list(database: Database, rng: random.Random) -> Read:
    store = CostsStore(database)
    prices = [NewCost(rng.choice("abc"), rng.randrange(2), 1, effective_date=rng.randrange(2)) for _ in range(SIZE)]
    await store.create(PROJECT, prices)
    await shuffle(database.costs, rng, created_at=[NOON, NOON + 1])
    return lambda request, sort_by: store.page(PROJECT, request, {"id"}, sort_by=sort_by)


async def projects_list(database: Database, rng: random.Random) -> Read:
    store = ProjectsStore(database)
    for number in range(SIZE):
        await store.ensure(f"e{number}", rng.choice("abc"))
    await shuffle(database.projects, rng, last_activity_at=[NOON, NOON + 1, None])
    return lambda request, sort_by: store.page(request, {"id"}, sort_by=sort_by)


async def traces_list(database: Database, rng: random.Random) -> Read:
    parts: list[CallStart | CallEnd] = []
    for number in range(SIZE):
        started_at, op_name = NOON + rng.randrange(3) * SECOND, rng.choice("ab")
        # The roots of some traces are missing.
        parent = rng.choice([None, None, call_id(900)])
        parts.append(start(number, started_at=started_at, op_name=op_name, parent_id=parent))
        if rng.random() < 0.5:
            child = start(100 + number, trace_id=trace_id(number), parent_id=call_id(number), started_at=started_at)
            parts += [child, end(number, ended_at=started_at + rng.randrange(2))]
    await CallsStore(database).write(parts)
    store = TraceListsStore(database)
    return lambda request, sort_by: store.page(PROJECT, request, sort_by=sort_by)


async def threads_list(database: Database, rng: random.Random) -> Read:
    parts: list[CallStart | CallEnd] = []
    for number in range(2 * SIZE):
        started_at = NOON + rng.randrange(3) * SECOND
        place = {"thread_id": f"thread {number % SIZE}", "turn_id": call_id(number)}
        parts.append(start(number, started_at=started_at, **place))
        if number < SIZE or rng.random() < 0.5:
            parts.append(end(number, ended_at=started_at + rng.randrange(2)))
    await CallsStore(database).write(parts)
    store = ThreadsStore(database)
    return lambda request, sort_by: store.page(PROJECT, request, {"thread_id"}, sort_by=sort_by)


async def table_rows(database: Database, rng: random.Random) -> Read:
    store = TablesStore(database)
    rows = [{"n": number, "a": rng.randrange(3), "b": rng.choice("xy")} for number in range(SIZE)]
    digest, _ = await store.create(PROJECT, rows)
    return lambda request, sort_by: store.page(PROJECT, digest, request, {"id"}, sort_by=sort_by)


_KEEPS_SHARD_KEY: Final = {"objects": pytest.mark.not_on("cluster", reason="no write changes the shard key alone")}


async def shuffle(collection: Collection, rng: random.Random, **values: Sequence[object]) -> None:
    """Give each document one of some values in each of some fields."""
    async for document in collection.find({}, {"_id": 1}):
        chosen = {name: rng.choice(some) for name, some in values.items()}
        unset = {name: "" for name, value in chosen.items() if value is None}
        changed = {"$set": {name: value for name, value in chosen.items() if value is not None}, "$unset": unset}
        await collection.update_one({"_id": document["_id"]}, changed)


LISTS: Final[dict[str, tuple[Callable[[Database, random.Random], Awaitable[Read]], list[str]]]] = {
    "calls": (
        calls_list,
        ["started_at", "status", "op_name", "latency_ms", "total_tokens", "inputs.a", "feedback.[custom].payload.mark"],
    ),
    "objects": (objects_list, ["created_at", "object_id", "kind", "size_bytes"]),
    "feedback": (feedback_list, ["created_at", "feedback_type", "payload.mark"]),
    "costs": (costs_list, ["created_at", "llm_id", "prompt_token_cost"]),
    "projects": (projects_list, ["name", "last_activity_at"]),
    "traces": (traces_list, ["started_at", "name", "num_calls", "latency_ms"]),
    "threads": (threads_list, ["turn_count", "start_time", "last_updated", "num_calls"]),
    "table rows": (table_rows, ["a", "b"]),
}
"""Function that fills a list, and fields to sort by; their values are numbers or texts, never both in one field."""


def in_python(values: Values, ids: Sequence[Any], sort_by: Sequence[SortBy]) -> list[Any]:
    """Return the ids in order: nulls last in both directions, ties by id in the direction of the last key."""
    ordered = sorted(ids, reverse=sort_by[-1].descending)
    for key in reversed(sort_by):
        value = values[key.field]
        present = [each for each in ordered if value[each] is not None]
        present.sort(key=value.__getitem__, reverse=key.descending)
        ordered = [*present, *(each for each in ordered if value[each] is None)]
    return ordered


def at(row: dict[str, Any], path: str) -> Any:
    for step in path.split("."):
        row = row.get(step, {}) if isinstance(row, dict) else {}
    return None if row == {} else row


async def values_of(read: Read, fields: Sequence[str]) -> Values:
    """Return the values that the rows of the list have in some fields."""
    values: Values = {}
    for name in fields:
        page = await read(PageRequest(1_000), [SortBy(name, descending=True)])
        path = page.order.keys[-2].path
        values[name] = {row["id"]: at(row, path) for row in page.rows}
    return values


async def walked(
    read: Read, size: int, sort_by: Sequence[SortBy], *, backward: bool, max_characters: int | None = None
) -> list[Any]:
    """Return the ids of all pages of a size, in order of the list."""
    ids: list[Any] = []
    cursor: str | None = None
    while True:
        page = await read(PageRequest(size, cursor, backward, max_characters=max_characters), sort_by)
        assert len(page.rows) <= size
        of_page = [row["id"] for row in page.rows]
        ids = of_page + ids if backward else ids + of_page
        cursor = page.start_cursor if backward else page.end_cursor
        if not (page.has_previous if backward else page.has_next):
            return ids


def some_sorts(rng: random.Random, fields: Sequence[str]) -> list[list[SortBy]]:
    """Return sorts by each field in each direction, and by several fields in random directions."""
    single = [[SortBy(name, descending)] for name in fields for descending in (False, True)]
    several = [
        [SortBy(name, rng.random() < 0.5) for name in rng.sample(fields, rng.randint(2, min(3, len(fields))))]
        for _ in range(10)
    ]
    return single + several


@pytest.mark.parametrize("case", range(cases(3)))
@pytest.mark.parametrize("name", [pytest.param(each, marks=_KEEPS_SHARD_KEY.get(each, [])) for each in LISTS])
async def test_pages_have_the_order_of_a_sort_in_python(database: Database, name: str, case: int) -> None:
    rng = random.Random(f"{SEED} {name} {case}")
    fill, fields = LISTS[name]
    read = await fill(database, rng)
    values = await values_of(read, fields)
    ids = sorted(values[fields[0]])
    assert len(ids) >= SIZE
    assert all(len(set(each.values())) < len(ids) for each in values.values())

    for sort_by in some_sorts(rng, fields):
        expected = in_python(values, ids, sort_by)
        size = rng.choice([1, 2, 3, 5, 7, len(ids)])
        for backward in (False, True):
            assert await walked(read, size, sort_by, backward=backward) == expected, (sort_by, size, backward)
            # As exports read: some pages end early.
            assert await walked(read, 10, sort_by, backward=backward, max_characters=20) == expected, (
                sort_by,
                backward,
            )
        for offset in rng.sample(range(len(ids) + 2), 3):
            page = await read(PageRequest(size, offset=offset), sort_by)
            assert [row["id"] for row in page.rows] == expected[offset : offset + size], (sort_by, size, offset)
