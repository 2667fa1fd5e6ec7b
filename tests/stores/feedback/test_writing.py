"""Tests of writes of feedback: the stored documents, and ids that only their owner may reuse."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stores.database import Database
from stores.errors import ConflictError
from stores.feedback import FeedbackStore
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.feedback.builders import call_ref, note, reaction
from tests.stores.feedback.stored import everything, notes


async def test_document_has_the_fields_other_stores_rely_on(store: FeedbackStore, database: Database) -> None:
    await store.create([reaction("👍🏽", id="f", creator="Ann", wb_user_id="ann"), note(weave_ref="plain", id="g")])

    on_call, plain = await database.feedback.find({}, sort=[("id", 1)]).to_list(None)
    payload = {
        "emoji": "👍🏽",
        "alias": ":thumbs_up_medium_skin_tone:",
        "detoned": "👍",
        "detoned_alias": ":thumbs_up:",
    }
    assert isinstance(on_call.pop("created_at"), int)
    assert on_call.pop("json")["payload"].startswith('{"emoji":"👍🏽","alias":":thumbs_up_medium')
    assert on_call == {
        "_id": f"{PROJECT}:f",
        "project_id": PROJECT,
        "id": "f",
        "weave_ref": call_ref(),
        "call_id": call_id(1),
        "feedback_type": "wandb.reaction.1",
        "creator": "Ann",
        "wb_user_id": "ann",
        "payload": payload,
    }
    assert "call_id" not in plain
    assert "creator" not in plain


@pytest.mark.parametrize(
    "weave_ref",
    ["", "text", call_ref(project_id="acme/other"), f"{call_ref()}/attr/x", f"weave:///{PROJECT}/object/call:x"],
)
async def test_only_a_call_ref_of_the_project_links_to_a_call(
    store: FeedbackStore, database: Database, weave_ref: str
) -> None:
    await store.create_one(note(weave_ref=weave_ref))

    [document] = await database.feedback.find({}).to_list(None)
    assert document["weave_ref"] == weave_ref
    assert "call_id" not in document


async def test_generated_ids_sort_by_time(store: FeedbackStore) -> None:
    rows = await store.create([note(str(number)) for number in range(50)])

    ids = [row["id"] for row in rows]
    assert sorted(set(ids)) == ids
    assert {row["wb_user_id"] for row in rows} == {"local"}


async def test_same_id_user_and_ref_replaces_the_feedback(store: FeedbackStore) -> None:
    first = await store.create_one(note("first", id="f", creator="Ann"))
    second = await store.create_one(reaction("👎", id="f"))

    [row] = await everything(store)
    assert (row["id"], row["feedback_type"]) == ("f", "wandb.reaction.1")
    assert second["created_at"] > first["created_at"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weave_ref": call_ref(2)}, "'f' is the id of feedback about another weaveRef"),
        ({"wb_user_id": "bob"}, "'f' is the id of feedback of another user"),
    ],
)
async def test_id_of_another_user_is_a_conflict_with_a_reason(
    store: FeedbackStore, changes: dict[str, Any], says: str
) -> None:
    await store.create_one(note("first", id="f"))

    with pytest.raises(ConflictError) as one:
        await store.create_one(note("second", id="f", **changes))
    with pytest.raises(ConflictError) as batch:
        await store.create([note("third", id="g"), note("fourth"), note("second", id="f", **changes)])
    with pytest.raises(ConflictError) as twice:
        await store.create([note("fifth", id="h"), replace(note("sixth", id="h"), **changes)])

    assert says in one.value.message
    assert [error.value.argument for error in (one, batch, twice)] == ["id", "batch.2.id", "batch.1.id"]
    assert await notes(store) == {"f": '{"note":"first"}'}


async def test_same_id_in_another_project_is_other_feedback(store: FeedbackStore) -> None:
    await store.create([note("here", id="f"), note("there", id="f", project_id="acme/other")])

    assert await notes(store) == {"f": '{"note":"here"}'}
    assert await store.count("acme/other") == 1


async def test_concurrent_writes_of_one_id_leave_one(store: FeedbackStore) -> None:
    rows = await asyncio.gather(*(store.create_one(note(str(number), id="f")) for number in range(30)))

    [row] = await everything(store)
    assert row["json"]["payload"] in {made["json"]["payload"] for made in rows}


async def test_one_of_two_users_gets_a_contested_id(store: FeedbackStore) -> None:
    for round_ in range(10):
        answers = await asyncio.gather(
            *(store.create_one(note(user, id=f"f{round_}", wb_user_id=user)) for user in ("ann", "bob")),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["IdTakenError", "dict"]

    assert await store.count(PROJECT) == 10
