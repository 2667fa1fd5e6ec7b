"""Writing feedback: ids, batches, replacing and purging, also by many at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stores.database import Database
from stores.errors import BadInputError, ConflictError, PayloadTooLargeError, StoreError
from stores.feedback import FeedbackStore, NewFeedback
from stores.paging import PageRequest
from stores.query import Query
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.feedback.builders import call_ref, feedback, note, reaction


async def everything(store: FeedbackStore) -> list[dict[str, Any]]:
    page = await store.page(PROJECT, PageRequest(size=10_000), {"id", "payload", "weave_ref", "feedback_type"})
    return page.rows


async def notes(store: FeedbackStore) -> dict[str, str]:
    return {row["id"]: row["json"]["payload"] for row in await everything(store)}


def by_id(*ids: object) -> Query:
    terms = [{"$eq": [{"$getField": "id"}, {"$literal": feedback_id}]} for feedback_id in ids]
    return Query({"$expr": terms[0] if len(terms) == 1 else {"$or": terms}})


async def test_the_document_is_what_other_stores_count_on(store: FeedbackStore, database: Database) -> None:
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
async def test_only_the_ref_of_a_call_of_the_project_is_on_a_call(
    store: FeedbackStore, database: Database, weave_ref: str
) -> None:
    await store.create_one(note(weave_ref=weave_ref))

    [document] = await database.feedback.find({}).to_list(None)
    assert document["weave_ref"] == weave_ref
    assert "call_id" not in document


async def test_ids_left_out_are_made_and_sort_by_time(store: FeedbackStore) -> None:
    rows = await store.create([note(str(number)) for number in range(50)])

    ids = [row["id"] for row in rows]
    assert sorted(set(ids)) == ids
    assert {row["wb_user_id"] for row in rows} == {"local"}


async def test_the_same_id_again_replaces_feedback_of_the_same_user_on_the_same_ref(store: FeedbackStore) -> None:
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
async def test_the_same_id_of_another_is_a_conflict_that_says_why(
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


async def test_the_same_id_in_another_project_is_other_feedback(store: FeedbackStore) -> None:
    await store.create([note("here", id="f"), note("there", id="f", project_id="acme/other")])

    assert await notes(store) == {"f": '{"note":"here"}'}
    assert await store.count("acme/other") == 1


async def test_of_an_id_twice_in_a_batch_the_later_counts(store: FeedbackStore) -> None:
    rows = await store.create([note("first", id="f"), note("between"), note("last", id="f")])

    assert [row["id"] for row in rows][::2] == ["f", "f"]
    assert (await notes(store))["f"] == '{"note":"last"}'
    assert await store.count(PROJECT) == 2


async def test_an_empty_batch_does_nothing(store: FeedbackStore) -> None:
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
async def test_a_batch_with_one_invalid_item_stores_nothing(
    store: FeedbackStore, broken: NewFeedback, kind: type[StoreError], argument: str
) -> None:
    with pytest.raises(kind) as caught:
        await store.create([note(), note(id="f"), broken, note()])

    assert caught.value.argument == argument
    assert await store.count(PROJECT) == 0


async def test_a_batch_of_ten_thousand_is_stored_and_one_more_is_refused(store: FeedbackStore) -> None:
    batch = [note(str(number), id=f"f{number}" if number % 2 else None) for number in range(10_000)]

    rows = await store.create(batch)
    with pytest.raises(BadInputError) as caught:
        await store.create([*batch, note()])

    assert len({row["id"] for row in rows}) == 10_000
    assert await store.count(PROJECT) == 10_000
    assert (caught.value.argument, caught.value.message) == ("batch", "has 10,001 items; the limit is 10,000")


async def test_large_and_deep_payloads_come_back_as_they_were_sent(store: FeedbackStore, database: Database) -> None:
    deep: object = "bottom"
    for _ in range(1000):
        deep = [deep]
    payloads = [{"deep": deep}, {"list": [0] * 500_000}, {"k": ["" for _ in range(340_000)]}, {"$a.b": {"": 10**100}}]

    rows = await store.create([feedback(payload) for payload in payloads])

    stored = await notes(store)
    assert [stored[row["id"]] for row in rows] == [row["json"]["payload"] for row in rows]
    assert stored[rows[3]["id"]] == '{"$a.b":{"":1' + "0" * 100 + "}}"
    assert await database.feedback.count_documents({"payload.%24a%2Eb": {"$exists": True}}) == 1


async def test_replacing_puts_new_feedback_in_the_place_of_the_old(store: FeedbackStore) -> None:
    await store.create([note("old", id="f"), note("other", id="g")])

    made = await store.replace("f", note("new", weave_ref=call_ref(2), wb_user_id="bob"))
    named = await store.replace(made["id"], note("newer", id="h"))
    same = await store.replace("h", note("newest", id="h", weave_ref=call_ref(3)))
    unknown = await store.replace("nothing", note("just created", id="i"))

    assert (named["id"], same["id"], unknown["id"]) == ("h", "h", "i")
    assert await notes(store) == {
        "g": '{"note":"other"}',
        "h": '{"note":"newest"}',
        "i": '{"note":"just created"}',
    }


@pytest.mark.parametrize(
    ("new", "kind", "argument"),
    [
        (note("x" * 1025), BadInputError, "payload.$.note"),
        (reaction("👍👍"), BadInputError, "payload.$.emoji"),
        (note(id="taken", weave_ref="elsewhere"), ConflictError, "id"),
    ],
)
async def test_what_cannot_be_stored_takes_no_place(
    store: FeedbackStore, new: NewFeedback, kind: type[StoreError], argument: str
) -> None:
    await store.create([note("old", id="f"), note("other", id="taken")])

    with pytest.raises(kind) as caught:
        await store.replace("f", new)

    assert caught.value.argument == argument
    assert await notes(store) == {"f": '{"note":"old"}', "taken": '{"note":"other"}'}


async def test_a_reader_never_sees_neither_or_both_of_old_and_new(store: FeedbackStore) -> None:
    await store.create_one(note("0", id="f0"))
    seen: list[int] = []

    async def read() -> None:
        while not done:
            seen.append(len(await everything(store)))

    done = False
    reader = asyncio.create_task(read())
    for number in range(1, 30):
        await store.replace(f"f{number - 1}", note(str(number), id=f"f{number}"))
    done = True
    await reader

    assert set(seen) == {1}
    assert await notes(store) == {"f29": '{"note":"29"}'}


async def test_many_who_write_one_id_at_once_leave_one(store: FeedbackStore) -> None:
    rows = await asyncio.gather(*(store.create_one(note(str(number), id="f")) for number in range(30)))

    [row] = await everything(store)
    assert row["json"]["payload"] in {made["json"]["payload"] for made in rows}


async def test_of_two_users_who_take_one_id_at_once_one_gets_it(store: FeedbackStore) -> None:
    for round_ in range(10):
        answers = await asyncio.gather(
            *(store.create_one(note(user, id=f"f{round_}", wb_user_id=user)) for user in ("ann", "bob")),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["ConflictError", "dict"]

    assert await store.count(PROJECT) == 10


async def test_batches_that_cross_each_other_are_each_stored_whole(store: FeedbackStore) -> None:
    ids = [f"f{number}" for number in range(20)]
    forward = [note("forward", id=feedback_id) for feedback_id in ids]
    backward = [note("backward", id=feedback_id) for feedback_id in reversed(ids)]

    await asyncio.gather(*(store.create(batch) for batch in (forward, backward) * 3))

    assert len(set((await notes(store)).values())) == 1
    assert await store.count(PROJECT) == 20


async def test_a_purge_takes_what_it_names_and_says_how_much(store: FeedbackStore) -> None:
    await store.create([note(id=name, project_id=project) for name in "abcd" for project in (PROJECT, "acme/other")])

    assert await store.purge(PROJECT, by_id("a")) == 1
    assert await store.purge(PROJECT, by_id("b", "c", "unknown", "b")) == 2
    assert await store.purge(PROJECT, by_id("a", "b")) == 0
    assert await store.purge(PROJECT, Query({"or": [{"eq": [{"getField": "id"}, {"literal": "d"}]}]}, typed=True)) == 1

    assert await store.count(PROJECT) == 0
    assert await store.count("acme/other") == 4


ID, A = {"$getField": "id"}, {"$literal": "a"}
EQUALS: dict[str, Any] = {"$eq": [ID, A]}


@pytest.mark.parametrize(
    "tree",
    [
        {"$in": [ID, [A]]},
        {"$and": [EQUALS]},
        {"$not": [EQUALS]},
        {"$eq": [A, ID]},
        {"$eq": [ID, {"$literal": 5}]},
        {"$eq": [ID, {"$literal": None}]},
        {"$eq": [ID, ID]},
        {"$gt": [ID, A]},
        {"$eq": [{"$getField": "feedback_type"}, A]},
        {"$eq": [{"$getField": "payload.id"}, A]},
        {"$eq": [{"$convert": {"input": ID, "to": "string"}}, A]},
        {"$or": [EQUALS, {"$or": [EQUALS]}]},
        {"$or": [EQUALS, {"$eq": [ID, {"$literal": True}]}]},
        {"$contains": {"input": ID, "substr": {"$literal": ""}}},
    ],
    ids=str,
)
async def test_a_purge_by_anything_but_ids_is_refused_and_takes_nothing(store: FeedbackStore, tree: object) -> None:
    await store.create_one(note(id="a"))

    with pytest.raises(BadInputError) as caught:
        await store.purge(PROJECT, Query({"$expr": tree}))

    assert caught.value.argument == "query"
    assert '{"$eq": [{"$getField": "id"}, {"$literal": "<id>"}]}, or an $or of such' in caught.value.message
    assert await store.count(PROJECT) == 1


async def test_a_purge_by_no_query_is_refused(store: FeedbackStore) -> None:
    with pytest.raises(BadInputError, match=r"\$expr"):
        await store.purge(PROJECT, Query({}))
    with pytest.raises(BadInputError, match="one or more operands"):
        await store.purge(PROJECT, Query({"$expr": {"$or": []}}))
