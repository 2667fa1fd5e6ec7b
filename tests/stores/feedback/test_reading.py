"""Tests of lists of feedback: queries over columns and payloads, sorts, pages in both directions, stats by type."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from stores.database import Database
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.feedback.store import MAX_TYPES
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.feedback.builders import call_ref, feedback, note, reaction

PAYLOADS: dict[str, dict[str, Any]] = {
    "a": {"value": {"score": 5}, "tags": ["x", "y"]},
    "b": {"value": {"score": 5.5}, "output": None},
    "c": {"value": {"score": "5"}},
    "d": {"value": {"score": True}, "$odd.key": 1},
    "e": {"value": {"score": None}},
    "f": {"note": "Say HELLO to Straße"},
    "g": {"value": {"score": -3}, "output": False},
}


@pytest.fixture
async def stock(store: FeedbackStore) -> FeedbackStore:
    """Store seven pieces of feedback on different calls, and one in another project."""
    for number, (name, payload) in enumerate(PAYLOADS.items()):
        kind = f"kind{number % 2}"
        creator = "Ann" if number % 3 else None
        await store.create_one(
            feedback(payload, id=name, weave_ref=call_ref(number), feedback_type=kind, creator=creator)
        )
    await store.create_one(feedback(PAYLOADS["a"], id="z", project_id="acme/other"))
    return store


def get(name: str) -> dict[str, str]:
    return {"$getField": name}


def literal(value: object) -> dict[str, object]:
    return {"$literal": value}


def converted(name: str, to: str) -> dict[str, object]:
    return {"$convert": {"input": get(name), "to": to}}


def contains(name: str, text: str) -> dict[str, object]:
    return {"$contains": {"input": get(name), "substr": literal(text), "case_insensitive": True}}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"$eq": [get("payload.value.score"), literal(5)]}, "a"),
        ({"$eq": [get("payload.value.score"), literal("5")]}, "c"),
        ({"$eq": [get("payload.value.score"), literal(value=True)]}, "d"),
        ({"$eq": [get("payload.value.score"), literal(None)]}, "ef"),
        ({"$not": [{"$eq": [get("payload.value.score"), literal(None)]}]}, "abcdg"),
        ({"$not": [{"$gt": [get("payload.value.score"), literal(0)]}]}, "cdefg"),
        ({"$gte": [converted("payload.value.score", "double"), literal(5)]}, "abc"),
        ({"$eq": [converted("payload.output", "exists"), literal(value=True)]}, "g"),
        ({"$eq": [get("payload.tags.1"), literal("y")]}, "a"),
        ({"$eq": [get(r"payload.$odd\.key"), literal(1)]}, "d"),
        (contains("payload.note", "hello"), "f"),
        (contains("payload", '"note":"say'), "f"),
        (contains("payload", "ẞ"), "f"),
        ({"$eq": [get("feedback_type"), literal("kind1")]}, "bdf"),
        ({"$in": [get("feedbackType"), [literal("kind0"), literal("none")]]}, "aceg"),
        ({"$eq": [get("creator"), literal(None)]}, "adg"),
        ({"$eq": [get("weave_ref"), literal(call_ref(2))]}, "c"),
        ({"$eq": [get("annotation_ref"), literal(None)]}, "abcdefg"),
        ({"$gt": [get("created_at"), literal(0)]}, "abcdefg"),
        ({"$lt": [get("created_at"), literal("2026-01-01T00:00:00Z")]}, ""),
        ({"$eq": [get("project_id"), literal("acme/other")]}, ""),
        ({"$in": [get("id"), [literal("a"), literal("z")]]}, "a"),
    ],
    ids=str,
)
async def test_query_finds_the_matching_feedback(stock: FeedbackStore, tree: object, expected: str) -> None:
    page = await stock.page(PROJECT, PageRequest(), {"id"}, query=Query({"$expr": tree}))

    assert "".join(row["id"] for row in page.rows) == expected
    assert await stock.count(PROJECT, query=Query({"$expr": tree})) == len(expected)
    assert (await stock.stats(PROJECT, Query({"$expr": tree}))).count == len(expected)


async def test_payload_too_complex_for_mongodb_is_matched_in_python(stock: FeedbackStore) -> None:
    query = Query({"$expr": {"$contains": {"input": get("payload.tags"), "substr": literal("x")}}})
    first = await stock.page(PROJECT, PageRequest(size=1), {"id"}, query=query)
    for tag in ("x", "y"):
        await stock.create_one(feedback({"a": [[]] * 40_000, "tags": [tag], "x": 1}, id=f"complex {tag}"))

    rest = await stock.page(PROJECT, PageRequest(cursor=first.end_cursor), {"id"}, query=query)

    assert [row["id"] for row in first.rows + rest.rows] == ["a", "complex x"]
    assert await stock.count(PROJECT, query=query) == 2
    assert [row["count"] for row in (await stock.stats(PROJECT, query)).types] == [1, 1]


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        (None, "abcdefg"),
        ([SortBy("created_at", descending=True)], "gfedcba"),
        ([SortBy("payload.value.score")], "gabcdef"),
        ([SortBy("payload.value.score", descending=True)], "bagcdfe"),
        ([SortBy("feedback_type", descending=True), SortBy("id", descending=True)], "fdbgeca"),
        ([SortBy("creator"), SortBy("createdAt", descending=True)], "fecbgda"),
    ],
    ids=str,
)
async def test_sort_orders_by_columns_and_paths(
    stock: FeedbackStore, sort_by: list[SortBy] | None, expected: str
) -> None:
    page = await stock.page(PROJECT, PageRequest(), {"id"}, sort_by=sort_by)

    assert "".join(row["id"] for row in page.rows) == expected


async def test_pages_in_both_directions_have_each_row_once(store: FeedbackStore, database: Database) -> None:
    dice = random.Random(3)
    values = (1, 2.5, "x", "y", None, True, [1], {"a": 1})
    batch = [
        feedback({"v": dice.choice(values)} if dice.random() < 0.8 else {}, feedback_type=dice.choice("ab"))
        for _ in range(60)
    ]
    await store.create(batch)
    await database.feedback.update_many({}, [{"$set": {"created_at": {"$mod": ["$created_at", 7]}}}])

    for fields in (["created_at"], ["feedback_type"], ["payload.v"], ["creator", "payload.v"], ["feedback_type", "id"]):
        for descending in (False, True):
            sort_by = [SortBy(name, descending) for name in fields]
            whole = await store.page(PROJECT, PageRequest(100), {"id"}, sort_by=sort_by)
            expected = [row["id"] for row in whole.rows]
            assert len(expected) == 60
            for backward in (False, True):
                assert await walk(store, dice.randint(1, 9), sort_by, backward=backward) == expected, sort_by


async def walk(store: FeedbackStore, size: int, sort_by: Sequence[SortBy], *, backward: bool) -> list[str]:
    ids: list[str] = []
    cursor, more = None, True
    while more:
        page = await store.page(PROJECT, PageRequest(size, cursor, backward), {"id"}, sort_by=sort_by)
        here = [row["id"] for row in page.rows]
        ids = here + ids if backward else ids + here
        more = page.has_previous if backward else page.has_next
        cursor = page.cursor(page.rows[0 if backward else -1])
    return ids


async def test_only_selected_fields_are_read(stock: FeedbackStore) -> None:
    bare = await stock.page(PROJECT, PageRequest(1), {"feedback_type"})
    full = await stock.page(PROJECT, PageRequest(1), {"payload", "call"})

    assert set(bare.rows[0]) == {"feedback_type", "created_at", "id"}
    assert full.rows[0]["json"] == {"payload": '{"value":{"score":5},"tags":["x","y"]}'}
    assert full.rows[0]["call_id"] == call_id(0)


async def test_stats_by_type_have_the_latest_of_each(stock: FeedbackStore) -> None:
    last = await stock.create([note(), note()])

    stats = await stock.stats(PROJECT)

    assert stats.count == 9
    assert [(row["feedback_type"], row["count"]) for row in stats.types] == [
        ("kind0", 4),
        ("kind1", 3),
        ("wandb.note.1", 2),
    ]
    assert stats.types[2]["last_created_at"] == last[1]["created_at"]
    assert (await stock.stats("acme/none")).types == []


async def test_stats_of_too_many_types_are_refused(store: FeedbackStore) -> None:
    await store.create([feedback(feedback_type=f"kind {number}") for number in range(MAX_TYPES)])
    assert len((await store.stats(PROJECT)).types) == MAX_TYPES
    await store.create_one(feedback(feedback_type="one more"))

    with pytest.raises(BadInputError, match="more than 1,000 types") as caught:
        await store.stats(PROJECT)

    assert caught.value.argument == "query"


async def test_feedback_on_calls_is_read_by_page_type_and_project(store: FeedbackStore) -> None:
    batch = [note(str(n), id=f"n{n}", weave_ref=call_ref(n % 3)) for n in range(9)]
    batch += [reaction(id=f"r{n}", weave_ref=call_ref(n)) for n in range(2)]
    batch += [note(id="other", project_id="acme/other", weave_ref=call_ref(0, "acme/other"))]
    batch += [note(id="stray", project_id="acme/other", weave_ref=call_ref(0))]
    await store.create(batch)
    keys = [(PROJECT, call_id(n)) for n in range(4)] + [("acme/other", call_id(0))]

    def ids(pages: dict[tuple[str, str], Any]) -> list[list[str]]:
        return [[row["id"] for row in pages[key].rows] for key in keys]

    every = await store.of_calls.pages(keys, frozenset({"id"}), PageRequest(), frozenset())
    last = await store.of_calls.pages(
        keys, frozenset(), PageRequest(2, backward=True), frozenset({"wandb.note.1", "x"})
    )

    assert ids(every) == [["n0", "n3", "n6", "r0"], ["n1", "n4", "n7", "r1"], ["n2", "n5", "n8"], [], ["other"]]
    assert ids(last) == [["n3", "n6"], ["n4", "n7"], ["n5", "n8"], [], ["other"]]
    assert [last[key].has_previous for key in keys] == [True, True, True, False, False]
    assert list((await store.of_calls.count(keys, None, frozenset({"wandb.reaction.1"}))).values()) == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("tree", "argument", "says"),
    [
        ({"$eq": [get("payloud.x"), literal(1)]}, "query.json.$expr.$eq.0.$getField", "did you mean payload"),
        ({"$eq": [get("payload..x"), literal(1)]}, "query.json.$expr.$eq.0.$getField", "empty key"),
        ({"$eq": [get("created_at"), literal("noon")]}, "query.json.$expr.$eq.1", "is not an ISO 8601 time"),
    ],
)
async def test_invalid_query_is_refused(store: FeedbackStore, tree: object, argument: str, says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        await store.page(PROJECT, PageRequest(), {"id"}, query=Query({"$expr": tree}))

    assert caught.value.argument == argument
    assert says in caught.value.message
