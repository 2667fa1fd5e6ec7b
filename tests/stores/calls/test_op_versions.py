"""Tests that pages by op names are in index order and complete, even if a new version appears during the read."""

from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStore, list_query
from stores.calls.list_query import MAX_PREFIXES
from stores.database import Database
from stores.database.driver import concern_of_one_read
from stores.feedback import FeedbackStore, NewFeedback
from stores.input_checks import MAX_NAME
from stores.paging import Page, PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, start

ANSWER = f"weave:///{PROJECT}/op/answer"
NEWEST = [SortBy("started_at", descending=True)]
OP_NAME = {"$getField": "op_name"}


def named(*names: str) -> dict[str, Any]:
    return {"calls_filter": CallsFilter(op_names=list(names))}


def query_of(tree: dict[str, Any]) -> dict[str, Any]:
    return {"query": Query({"$expr": tree})}


BY_NAME = [
    pytest.param(named("answer"), id="filter"),
    pytest.param(named("answer:*", "other"), id="filter with two names"),
    pytest.param(named(f"{ANSWER}:*", "answer"), id="filter with a ref of every version"),
    pytest.param(query_of({"$eq": [OP_NAME, {"$literal": "answer"}]}), id="query"),
    pytest.param(
        query_of({"$in": [OP_NAME, [{"$literal": "answer"}, {"$literal": "other"}]]}), id="query with two names"
    ),
    pytest.param(
        query_of({"$or": [{"$startsWith": [OP_NAME, {"$literal": text}]} for text in ("answer", f"{ANSWER}:")]}),
        id="query with prefixes",
    ),
]


@pytest.fixture(autouse=True)
async def answers(calls: CallsStore) -> None:
    """Write calls of two versions of an op, of a plain name like it, and of other ops."""
    ops = (f"{ANSWER}:v1", "plain", f"{ANSWER}:v2", "answer", f"{ANSWER}s:v1")
    await calls.write([start(number, op_name=ops[number % 5]) for number in range(20)])


def numbers(page: Page) -> list[int]:
    return [int(row["id"][-12:], 16) for row in page.rows]


def reads(commands: Commands) -> list[str]:
    """Return the names of the commands that read calls."""
    return [name for name, body in commands.sent if body.get(name) == "calls"]


@pytest.mark.parametrize("asked_for", BY_NAME)
async def test_page_has_calls_of_a_version_created_after_the_last_page(
    calls: CallsStore, asked_for: dict[str, Any]
) -> None:
    before = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **asked_for)
    await calls.write([start(30, op_name=f"{ANSWER}:v3")])
    after = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **asked_for)
    again = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **asked_for)

    assert numbers(before) == [18, 17, 15, 13, 12]
    assert numbers(after) == numbers(again) == [30, 18, 17, 15, 13]


@pytest.mark.parametrize("asked_for", BY_NAME)
async def test_cursor_continues_after_a_version_is_created(calls: CallsStore, asked_for: dict[str, Any]) -> None:
    first = await calls.page(PROJECT, PageRequest(10), {"id"}, **asked_for)
    await calls.write([start(30, op_name=f"{ANSWER}:v3")])
    rest = await calls.page(PROJECT, PageRequest(10, first.end_cursor), {"id"}, **asked_for)

    assert numbers(first) == [0, 2, 3, 5, 7, 8, 10, 12, 13, 15]
    assert numbers(rest) == [17, 18, 30]


@pytest.mark.not_on("cluster", reason="each shard reads a whole page")
@pytest.mark.parametrize("sort_by", [None, NEWEST], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("asked_for", BY_NAME[:-1])
async def test_page_by_op_name_is_in_index_order(
    calls: CallsStore, asked_for: dict[str, Any], sort_by: list[SortBy] | None
) -> None:
    await calls.write([start(number, op_name=f"{ANSWER}:v{number % 3}") for number in range(100, 400)])
    await calls.write([start(number, op_name="plain") for number in range(400, 1600)])

    plan = await calls.explain(PROJECT, sort_by=sort_by, **asked_for)

    assert not plan.sorts_in_memory
    assert plan.returned == 101
    assert plan.keys_examined <= 120


async def test_page_reads_versions_at_first_and_for_new_ones(calls: CallsStore, commands: Commands) -> None:
    read = []
    for written in (None, None, "v2", "v3", None):
        if written:
            await calls.write([start(30, op_name=f"{ANSWER}:{written}")])
        commands.sent.clear()
        await calls.page(PROJECT, PageRequest(5), {"id"}, **named("answer"))
        read.append(reads(commands))

    page_and_check = ["find", "aggregate"]
    assert read == [
        ["aggregate", *page_and_check],
        page_and_check,
        page_and_check,
        [*page_and_check, *page_and_check],
        page_and_check,
    ]


async def test_page_is_not_repeated_if_a_version_disappears(calls: CallsStore, commands: Commands) -> None:
    # given
    await calls.write([start(30, op_name=f"{ANSWER}:v3")])
    before = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **named("answer"))
    await calls.delete(PROJECT, [call_id(30)])
    commands.sent.clear()
    # when
    after = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **named("answer"))
    # then
    assert numbers(before) == [30, 18, 17, 15, 13]
    assert numbers(after) == [18, 17, 15, 13, 12]
    assert reads(commands) == ["find", "aggregate"]


async def test_page_and_name_check_read_with_majority_concern(calls: CallsStore, commands: Commands) -> None:
    await calls.page(PROJECT, PageRequest(5), {"id"}, **named("answer"))
    commands.sent.clear()
    await calls.page(PROJECT, PageRequest(5), {"id"}, **named("answer"))

    level = concern_of_one_read(calls.database.calls.database.client.delegate).level
    assert [body["readConcern"]["level"] for _, body in commands.sent] == [level, level]


@pytest.fixture
def written_in_the_gap(calls: CallsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a call of a new version and one of a known version after the next read of versions."""
    read_really = list_query.op_versions
    gaps = [[start(30, op_name=f"{ANSWER}:v3"), start(31, op_name=f"{ANSWER}:v2")]]

    async def read(*arguments: Any, **options: Any) -> tuple[str, ...] | None:
        names = await read_really(*arguments, **options)
        if gaps:
            await calls.write(gaps.pop())
        return names

    monkeypatch.setattr(list_query, "op_versions", read)


@pytest.mark.usefixtures("written_in_the_gap")
@pytest.mark.parametrize("asked_for", BY_NAME)
async def test_page_has_calls_of_a_version_created_between_the_two_reads(
    calls: CallsStore, asked_for: dict[str, Any]
) -> None:
    page = await calls.page(PROJECT, PageRequest(20), {"id"}, **asked_for)
    rest = await calls.page(PROJECT, PageRequest(20, page.end_cursor), {"id"}, **asked_for)

    assert numbers(page) == [0, 2, 3, 5, 7, 8, 10, 12, 13, 15, 17, 18, 30, 31]
    assert numbers(rest) == []


IS_ANSWER = {"$eq": [OP_NAME, {"$literal": "answer"}]}


@pytest.mark.usefixtures("written_in_the_gap")
@pytest.mark.parametrize(
    "excluding",
    [
        {"$ne": [OP_NAME, {"$literal": "answer"}]},
        {"$not": [{"$in": [OP_NAME, [{"$literal": "answer"}, {"$literal": "other"}]]}]},
        {"$eq": [IS_ANSWER, {"$literal": False}]},
        {"$and": [{"$startsWith": [OP_NAME, {"$literal": "weave:"}]}, {"$not": [IS_ANSWER]}]},
    ],
    ids=str,
)
async def test_page_without_an_op_lacks_versions_created_after_the_read(
    calls: CallsStore, excluding: dict[str, Any]
) -> None:
    page = await calls.page(PROJECT, PageRequest(20), {"id"}, sort_by=NEWEST, **query_of(excluding))
    again = await calls.page(PROJECT, PageRequest(20), {"id"}, sort_by=NEWEST, **query_of(excluding))

    others = {4, 9, 14, 19} if "$and" in excluding else {1, 4, 6, 9, 11, 14, 16, 19}
    assert numbers(page) == numbers(again) == sorted(others, reverse=True)


@pytest.mark.usefixtures("written_in_the_gap")
async def test_page_by_op_name_and_feedback_is_one_snapshot(calls: CallsStore) -> None:
    unrated = {"$not": [{"$eq": [{"$getField": "feedback.[note].payload.good"}, {"$literal": True}]}]}
    by_both = query_of({"$and": [IS_ANSWER, unrated]})

    first = await calls.page(PROJECT, PageRequest(20), {"id"}, **by_both)
    rest = await calls.page(PROJECT, PageRequest(20, first.end_cursor), {"id"}, **by_both)

    assert numbers(first) == [0, 2, 3, 5, 7, 8, 10, 12, 13, 15, 17, 18]
    assert numbers(rest) == [30, 31]


async def test_page_by_refs_or_another_sort_reads_no_versions(calls: CallsStore, commands: Commands) -> None:
    commands.sent.clear()
    await calls.page(PROJECT, PageRequest(5), {"id"}, **named(f"{ANSWER}:v1"))
    await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=[SortBy("id")], **named("answer"))

    assert reads(commands) == ["find", "find"]


async def test_too_many_versions_are_counted_once_and_pages_are_complete(
    calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.calls.list_query.MAX_VERSIONS", 1)
    pages = []
    for _ in range(2):
        commands.sent.clear()
        first = await calls.page(PROJECT, PageRequest(10), {"id"}, **named("answer"))
        rest = await calls.page(PROJECT, PageRequest(10, first.end_cursor), {"id"}, **named("answer"))
        pages.append((reads(commands), numbers(first), numbers(rest)))

    found = [0, 2, 3, 5, 7, 8, 10, 12, 13, 15], [17, 18]
    assert pages == [(["aggregate", "find", "find"], *found), (["find", "find"], *found)]


async def test_list_continues_by_cursor_when_versions_become_too_many(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.calls.list_query.MAX_VERSIONS", 2)
    first = await calls.page(PROJECT, PageRequest(10), {"id"}, **named("answer"))
    await calls.write([start(30, op_name=f"{ANSWER}:v3")])
    rest = await calls.page(PROJECT, PageRequest(10, first.end_cursor), {"id"}, **named("answer"))

    assert numbers(rest) == [17, 18, 30]


async def test_page_by_many_op_names_is_complete(calls: CallsStore, commands: Commands) -> None:
    names = [*(f"none{number}" for number in range(MAX_PREFIXES)), "answer"]
    commands.sent.clear()
    page = await calls.page(PROJECT, PageRequest(3), {"id"}, sort_by=NEWEST, **named(*names))

    assert numbers(page) == [18, 17, 15]
    assert reads(commands) == ["find"]


async def test_too_long_op_names_are_neither_read_nor_cached(
    calls: CallsStore, commands: Commands, database: Database
) -> None:
    long = "x" * MAX_NAME
    rated = {"$eq": [{"$getField": "feedback.[note].payload.good"}, {"$literal": True}]}
    of_long = {"$startsWith": [OP_NAME, {"$literal": f"{long}x"}]}
    commands.sent.clear()
    pages = [
        await calls.page(PROJECT, PageRequest(3), {"id"}, **each)
        for each in (named(long), named(long, "other:*"), query_of(of_long), query_of({"$and": [of_long, rated]}))
    ]

    assert list(map(numbers, pages)) == [[]] * 4
    looked_for = ("other:", f"weave:///{PROJECT}/op/other:")
    assert list(list_query._CACHES[database]) == [(PROJECT, looked_for)]
    distinct = [body for name, body in commands.sent if "$group" in repr(body) and body.get(name) == "calls"]
    assert len(distinct) == 2  # before the page and after it
    assert long not in repr(distinct)


async def test_op_name_cache_evicts_the_least_recently_used(
    calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.calls.list_query._MAX_CACHED", 2)
    read = []
    for name in ("answer", "plain", "answer", "other", "answer", "plain"):
        commands.sent.clear()
        await calls.page(PROJECT, PageRequest(3), {"id"}, **named(name))
        read.append(reads(commands)[0] == "aggregate")

    assert read == [True, True, False, True, False, True]


async def test_op_name_and_feedback_condition_find_calls_of_a_new_version(
    calls: CallsStore, database: Database
) -> None:
    by_both = query_of(
        {
            "$and": [
                {"$eq": [OP_NAME, {"$literal": "answer"}]},
                {"$eq": [{"$getField": "feedback.[note].payload.good"}, {"$literal": True}]},
            ]
        }
    )
    found = []
    for number, op in ((30, f"{ANSWER}:v3"), (31, f"{ANSWER}:v4"), (32, "plain")):
        await calls.write([start(number, op_name=op)])
        ref = f"weave:///{PROJECT}/call/{call_id(number)}"
        note = NewFeedback(PROJECT, ref, feedback_type="note", payload={"good": True}, wb_user_id="ann")
        await FeedbackStore(database).create([note])
        found.append(numbers(await calls.page(PROJECT, PageRequest(5), {"id"}, **by_both)))

    assert found == [[30], [30, 31], [30, 31]]
