"""Tests that a batch of feedback is stored completely or not at all, within its size limits."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pymongo.errors import OperationFailure

from stores.database import Database
from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.feedback import FeedbackStore, NewFeedback
from tests.stores.calls.builders import PROJECT
from tests.stores.feedback.builders import feedback, note
from tests.stores.feedback.stored import notes


async def test_later_of_duplicate_ids_in_a_batch_wins(store: FeedbackStore) -> None:
    rows = await store.create([note("first", id="f"), note("between"), note("last", id="f")])

    assert [row["id"] for row in rows][::2] == ["f", "f"]
    assert (await notes(store))["f"] == '{"note":"last"}'
    assert await store.count(PROJECT) == 2


async def test_empty_batch_does_nothing(store: FeedbackStore) -> None:
    assert await store.create([]) == []
    assert await store.count(PROJECT) == 0


@pytest.mark.parametrize(
    ("broken", "kind", "argument"),
    [
        (note(""), BadInputError, "batch.2.payload.$.note"),
        (feedback({"a": "x" * 1024 * 1024}), PayloadTooLargeError, "batch.2.payload"),
        (note(project_id="x"), BadInputError, "batch.2.project_id"),
    ],
)
async def test_batch_with_one_invalid_item_stores_nothing(
    store: FeedbackStore, broken: NewFeedback, kind: type[StoreError], argument: str
) -> None:
    with pytest.raises(kind) as caught:
        await store.create([note(), note(id="f"), broken, note()])

    assert caught.value.argument == argument
    assert await store.count(PROJECT) == 0


async def test_batch_of_ten_thousand_is_stored_and_one_more_is_refused(store: FeedbackStore) -> None:
    batch = [note(str(number), id=f"f{number}" if number % 2 else None) for number in range(10_000)]

    rows = await store.create(batch)
    with pytest.raises(BadInputError) as caught:
        await store.create([*batch, note()])

    assert len({row["id"] for row in rows}) == 10_000
    assert await store.count(PROJECT) == 10_000
    assert (caught.value.argument, caught.value.message) == ("batch", "has 10,001 items; the limit is 10,000")


async def test_large_and_deep_payloads_are_read_back_as_sent(store: FeedbackStore, database: Database) -> None:
    deep: object = "bottom"
    for _ in range(1000):
        deep = [deep]
    payloads = [{"deep": deep}, {"list": [0] * 500_000}, {"k": ["" for _ in range(340_000)]}, {"$a.b": {"": 10**100}}]

    rows = await store.create([feedback(payload) for payload in payloads])

    stored = await notes(store)
    assert [stored[row["id"]] for row in rows] == [row["json"]["payload"] for row in rows]
    assert stored[rows[3]["id"]] == '{"$a.b":{"":1' + "0" * 100 + "}}"
    assert await database.feedback.count_documents({"payload.%24a%2Eb": {"$exists": True}}) == 1


async def test_overlapping_batches_are_each_stored_whole(store: FeedbackStore) -> None:
    ids = [f"f{number}" for number in range(20)]
    forward = [note("forward", id=feedback_id) for feedback_id in ids]
    backward = [note("backward", id=feedback_id) for feedback_id in reversed(ids)]

    await asyncio.gather(*(store.create(batch) for batch in (forward, backward) * 3))

    assert len(set((await notes(store)).values())) == 1
    assert await store.count(PROJECT) == 20


async def test_batch_too_large_when_stored_is_refused_by_name(store: FeedbackStore) -> None:
    # A BSON list takes a multiple of its text, because it stores each number's position.
    large = feedback({"a": [0] * 480_000})

    with pytest.raises(PayloadTooLargeError) as caught:
        await store.create([note(), *(feedback(large.payload) for _ in range(15))])

    assert caught.value.argument == "batch"
    assert caught.value.message == (
        "takes more than 48 MiB as stored (text, and a copy for queries); the first 9 of 16 items reach this limit, so "
        "send smaller batches"
    )
    assert await store.count(PROJECT) == 0
    assert len(await store.create([large, feedback(large.payload)])) == 2


@pytest.mark.parametrize(
    ("write", "argument"),
    [
        (lambda store: store.create([note(), note(id="a")]), "batch"),
        (lambda store: store.create([note()]), "batch.0.payload"),
        (lambda store: store.create_one(note()), "payload"),
        (lambda store: store.replace("a", note()), "payload"),
    ],
)
async def test_batch_too_large_for_a_small_server_is_refused_by_name(
    store: FeedbackStore,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[FeedbackStore], Awaitable[object]],
    argument: str,
) -> None:
    async def refuse(*_: object, **_named: object) -> None:
        raise OperationFailure("transaction is too large and will not fit in the storage engine cache", 388)

    monkeypatch.setattr(FeedbackStore, "_store", refuse)

    with pytest.raises(PayloadTooLargeError) as caught:
        await write(store)

    assert (caught.value.argument, caught.value.message) == (
        argument,
        "the data is too large for one database operation; send less at once",
    )
