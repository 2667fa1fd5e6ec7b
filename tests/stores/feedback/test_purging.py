"""Tests that a purge deletes feedback by ids only."""

from typing import Any

import pytest

from stores.database import Database
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.query import Query
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT
from tests.stores.feedback.builders import note


def by_id(*ids: object) -> Query:
    terms = [{"$eq": [{"$getField": "id"}, {"$literal": feedback_id}]} for feedback_id in ids]
    return Query({"$expr": terms[0] if len(terms) == 1 else {"$or": terms}})


async def test_purge_deletes_the_named_feedback_and_counts_it(store: FeedbackStore) -> None:
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
        {"$eq": [ID, {"$literal": None}]},
        {"$eq": [ID, ID]},
        {"$gt": [ID, A]},
        {"$eq": [{"$getField": "feedback_type"}, A]},
        {"$eq": [{"$getField": "payload.id"}, A]},
        {"$or": [EQUALS, {"$or": [EQUALS]}]},
        {"$or": [EQUALS, {"$eq": [ID, {"$literal": None}]}]},
        {"$contains": {"input": ID, "substr": {"$literal": ""}}},
    ],
    ids=str,
)
async def test_purge_by_anything_but_ids_is_refused(store: FeedbackStore, tree: object) -> None:
    await store.create_one(note(id="a"))

    with pytest.raises(BadInputError) as caught:
        await store.purge(PROJECT, Query({"$expr": tree}))

    assert caught.value.argument == "query"
    assert caught.value.message.startswith("must name ids: ")
    assert '{"$eq": [{"$getField": "id"}, {"$literal": "<id>"}]}, or an $or of such' in caught.value.message
    assert await store.count(PROJECT) == 1


async def test_purge_without_a_query_is_refused(store: FeedbackStore) -> None:
    with pytest.raises(BadInputError, match=r"\$expr"):
        await store.purge(PROJECT, Query({}))
    with pytest.raises(BadInputError, match="one or more operands"):
        await store.purge(PROJECT, Query({"$expr": {"$or": []}}))


async def test_too_long_ids_are_not_queried(store: FeedbackStore, database: Database, commands: Commands) -> None:
    await store.create([note(id="a" * 128), note(id="b")])
    longest, long = "a" * 128, ["c" * 129, *(f"{number}" + "d" * 90_000 for number in range(300))]
    commands.sent.clear()

    assert await store.purge(PROJECT, by_id(*long)) == 0
    assert commands.names == []
    assert await store.purge(PROJECT, by_id(*long, longest, "")) == 1
    assert await database.feedback.distinct("id") == ["b"]
