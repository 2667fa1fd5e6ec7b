"""Tests of starts, ends, renames and deletes in any order, repeated and by concurrent clients."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest
from tests.chance import cases
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id
from tests.stores.calls.model import CallModel

CASES = cases(300)
REF = "weave:///acme/chat/object/prompt:v1"

START_A = start(
    op_name="weave:///acme/chat/op/answer:v3",
    display_name="named A",
    parent_id=call_id(99),
    thread_id="thread",
    turn_id="turn",
    wb_user_id="ann",
    wb_run_id="acme/chat/run",
    wb_run_step=0,
    inputs={"prompt": REF, "z": [1, {"ü": 2.5}], "a": None},
)
START_B = start(op_name="other", started_at=NOON + 7, trace_id=trace_id(2), attributes={"only": "B"})
END_A = end(exception="it broke", output=REF, wb_run_step_end=3, summary={"usage": {"m": {"requests": 1}}})
END_B = end(ended_at=NOON - 1, exception="", output=None, summary={"status_counts": {"error": 2}})

Step = tuple[str, Any]
STEPS: list[Step] = [
    ("write", [START_A]),
    ("write", [START_B]),
    ("write", [END_A]),
    ("write", [END_B]),
    ("rename", ("renamed", "ann")),
    ("rename", ("", "bob")),
    ("delete", "ann"),
    ("delete", "bob"),
    ("write", [START_A, END_B]),
    ("write", [END_A, START_B, END_B, START_A, START_B]),
]
# Deletes are rarer, because a deleted call hides the effects of other writes.
WEIGHTS = [4, 4, 4, 4, 3, 3, 1, 1, 2, 2]


async def take(calls: CallsStore, model: CallModel, step: Step) -> None:
    """Apply one step to the store and to the model."""
    kind, what = step
    match kind:
        case "write":
            await calls.write([replace(part, id=model.call_id) for part in what])
            for part in what:
                model.write(part)
        case "rename":
            await calls.rename(PROJECT, model.call_id, *what)
            model.rename(*what)
        case "delete":
            await calls.delete(PROJECT, [model.call_id], what)
            model.delete(what)


async def stored(database: Database, number: int) -> dict[str, Any]:
    document = await database.calls.find_one({"_id": f"{PROJECT}:{call_id(number)}"})
    assert document is not None
    return document


async def test_writes_in_any_order_keep_the_latest_of_each_kind(calls: CallsStore, database: Database) -> None:
    dice = random.Random(20260131)

    async def run(number: int) -> None:
        steps = dice.choices(STEPS, WEIGHTS, k=dice.randint(1, 12))
        model = CallModel(PROJECT, call_id(number))
        for step in steps:
            await take(calls, model, step)
        document = await stored(database, number)
        assert ("deleted_at" in document) == (model.deleted_by is not None), steps
        document.pop("deleted_at", None)
        assert document == model.document(), steps

    await asyncio.gather(*(run(number) for number in range(CASES)))


@pytest.mark.parametrize("first", [START_A, START_B])
@pytest.mark.parametrize("then", [END_A, END_B])
async def test_complete_call_equals_its_start_and_end_updates(
    calls: CallsStore, database: Database, first: CallStart, then: CallEnd
) -> None:
    await calls.write([replace(first), replace(then)])
    # An end before its start is stored by an upsert, so its start is an update too.
    await calls.write([replace(then, id=call_id(2))])
    await calls.write([replace(first, id=call_id(2))])

    inserted, updated = await stored(database, 1), await stored(database, 2)
    assert updated | {"_id": inserted["_id"], "id": inserted["id"]} == inserted


async def test_latency_is_exact_over_any_span(calls: CallsStore, database: Database) -> None:
    dice = random.Random(7)
    starts = [dice.randint(-(6 * 10**16), 0) for _ in range(50)]
    spans = [(started, started + dice.randint(0, 25 * 10**13) * 1000 - 1) for started in starts]
    spans += [(0, -1_500_000), (0, -1), (0, 1_999_500), (5, 5)]

    for number, (started, ended) in enumerate(spans):
        await calls.write([end(number, ended_at=ended)])
        await calls.write([start(number, started_at=started)])

    for number, (started, ended) in enumerate(spans):
        assert (await stored(database, number))["latency_ms"] == (ended - started) // 1000


async def test_thousand_concurrent_equal_starts_leave_one_call(calls: CallsStore, database: Database) -> None:
    await asyncio.gather(*(calls.write([replace(START_A)]) for _ in range(1000)))

    model = CallModel(PROJECT, call_id(1))
    model.write(START_A)
    assert await database.calls.count_documents({}) == 1
    assert await stored(database, 1) == model.document()


async def test_concurrent_start_end_and_rename_leave_one_complete_call(calls: CallsStore, database: Database) -> None:
    def writes() -> list[Callable[[], Awaitable[object]]]:
        return [
            lambda: calls.write([replace(START_B)]),
            lambda: calls.write([replace(END_B)]),
            lambda: calls.rename(PROJECT, call_id(1), "renamed", "ann"),
            lambda: calls.write([replace(START_B), replace(END_B)]),
        ]

    await asyncio.gather(*(write() for _ in range(50) for write in writes()))

    model = CallModel(PROJECT, call_id(1))
    model.write(START_B)
    model.write(END_B)
    model.rename("renamed", "ann")
    assert await stored(database, 1) == model.document()


async def test_end_before_its_start_is_invisible_until_the_start(calls: CallsStore) -> None:
    await calls.write([END_A])
    assert await calls.one(PROJECT, call_id(1), {"id"}) is None
    assert await calls.count(PROJECT) == 0

    await calls.write([START_A])

    assert await calls.one(PROJECT, call_id(1), {"status", "exception"}) == {
        "id": call_id(1),
        "status": "error",
        "exception": "it broke",
    }


async def test_batch_with_an_invalid_item_stores_nothing_and_names_it(calls: CallsStore, database: Database) -> None:
    bad = start(2, id="NOT-AN-ID")

    with pytest.raises(BadInputError, match="is not a call id") as refused:
        await calls.write([start(1), end(1), bad, start(3)])

    assert refused.value.argument == "batch.2.start.id"
    assert await database.calls.count_documents({}) == 0


async def test_large_batch_stores_every_item(calls: CallsStore) -> None:
    parts = [part for number in range(2500) for part in (start(number), end(number))]

    await calls.write([*parts, *parts[:50]])

    page = await calls.page(PROJECT, PageRequest(10_000), {"id", "status"})
    assert [(row["id"], row["status"]) for row in page.rows] == [(call_id(number), "success") for number in range(2500)]


async def test_empty_batch_does_nothing(calls: CallsStore, database: Database) -> None:
    await calls.write([])

    assert await database.calls.count_documents({}) == 0


async def test_missing_ids_are_generated_and_returned(calls: CallsStore) -> None:
    part = start(id=None, trace_id=None)

    await calls.write([part])

    assert part.id is not None
    assert await calls.one(PROJECT, part.id, {"trace_id"}) == {"id": part.id, "trace_id": part.trace_id}


async def test_rename_counts_visible_calls_but_applies_to_a_later_start(calls: CallsStore) -> None:
    assert await calls.rename(PROJECT, call_id(1), "early") == 0

    await calls.write([start()])

    assert await calls.one(PROJECT, call_id(1), {"display_name", "trace_name"}) == {
        "id": call_id(1),
        "display_name": "early",
        "trace_name": "early",
    }
    assert await calls.rename(PROJECT, call_id(1), "") == 1
    assert await calls.one(PROJECT, call_id(1), {"display_name", "trace_name"}) == {
        "id": call_id(1),
        "trace_name": "answer",
    }


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_start_with_a_name_ends_a_rename_before_a_nameless_one(calls: CallsStore, *, together: bool) -> None:
    await calls.write([start()])
    await calls.rename(PROJECT, call_id(1), "renamed")
    starts = [start(display_name="named"), start(started_at=NOON)]

    for batch in [starts] if together else [[one] for one in starts]:
        await calls.write(batch)

    assert await calls.one(PROJECT, call_id(1), {"display_name", "trace_name", "started_at"}) == {
        "id": call_id(1),
        "trace_name": "answer",
        "started_at": NOON,
    }


async def test_same_id_in_another_project_is_another_call(calls: CallsStore) -> None:
    await calls.write([start(), start(project_id="acme/other", op_name="theirs")])

    await calls.rename(PROJECT, call_id(1), "mine")
    await calls.delete("acme/third", [call_id(1)])

    assert await calls.one("acme/other", call_id(1), {"trace_name"}) == {"id": call_id(1), "trace_name": "theirs"}
    assert await calls.one("acme/third", call_id(1), {"id"}) is None
