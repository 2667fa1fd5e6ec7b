"""Tests of the restore of stored feedback."""

import pytest

from stores.database import Database
from stores.errors import ConflictError
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from stores.paging import PageRequest
from tests.stores.calls.builders import NOON, PROJECT
from tests.stores.feedback.builders import annotation, feedback, spec


async def test_repeated_restore_keeps_id_and_time(database: Database) -> None:
    store = FeedbackStore(database)
    old = feedback({"score": 1}, id="mine", created_at=NOON, wb_user_id="ada")

    for _ in range(2):
        await store.restore([old])

    page = await store.page(PROJECT, PageRequest(), ["id", "created_at", "wb_user_id"])
    assert page.rows == [{"id": "mine", "created_at": NOON, "wb_user_id": "ada"}]


async def test_later_changes_are_kept(database: Database) -> None:
    store = FeedbackStore(database)
    await store.create([feedback({"score": 2}, id="mine")])

    await store.restore([feedback({"score": score}, id=name) for name, score in (("mine", 1), ("new", 3), ("new", 4))])

    page = await store.page(PROJECT, PageRequest(), ["id", "payload"])
    assert {row["id"]: row["json"]["payload"] for row in page.rows} == {"mine": '{"score":2}', "new": '{"score":3}'}


async def test_annotation_is_restored_though_its_spec_is_gone(database: Database, objects: ObjectsStore) -> None:
    store = FeedbackStore(database)
    ref = await spec(objects, {"type": "number"})
    await objects.delete(PROJECT, "score")

    await store.restore([annotation(ref, 1, id="mine", created_at=NOON)])

    assert await store.count(PROJECT) == 1


async def test_id_of_another_user_is_not_overwritten(database: Database) -> None:
    store = FeedbackStore(database)
    await store.create([feedback(id="taken", wb_user_id="ada")])

    with pytest.raises(ConflictError):
        await store.restore([feedback(id="taken", wb_user_id="bob", created_at=NOON)])
