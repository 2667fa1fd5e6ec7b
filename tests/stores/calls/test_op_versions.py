"""Pages by the names of ops: in the order of an index, and complete whenever a version appears."""

from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.calls.op_versions import MAX_PREFIXES
from stores.database import Database
from stores.feedback import FeedbackStore, NewFeedback
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


def asked(tree: dict[str, Any]) -> dict[str, Any]:
    return {"query": Query({"$expr": tree})}


BY_NAME = [
    pytest.param(named("answer"), id="filter"),
    pytest.param(named("answer:*", "other"), id="filter with two names"),
    pytest.param(named(f"{ANSWER}:*", "answer"), id="filter with a ref of every version"),
    pytest.param(asked({"$eq": [OP_NAME, {"$literal": "answer"}]}), id="query"),
    pytest.param(asked({"$in": [OP_NAME, [{"$literal": "answer"}, {"$literal": "other"}]]}), id="query with two names"),
    pytest.param(
        asked({"$or": [{"$startsWith": [OP_NAME, {"$literal": text}]} for text in ("answer", f"{ANSWER}:")]}),
        id="query with prefixes",
    ),
]


@pytest.fixture(autouse=True)
async def answers(calls: CallsStore) -> None:
    """Twelve calls of two versions of an op and of a plain name like it, between others."""
    ops = (f"{ANSWER}:v1", "plain", f"{ANSWER}:v2", "answer", f"{ANSWER}s:v1")
    await calls.write([start(number, op_name=ops[number % 5]) for number in range(20)])


def numbers(page: Page) -> list[int]:
    return [int(row["id"][-12:], 16) for row in page.rows]


def reads(commands: Commands) -> list[str]:
    """The names of the commands that read calls."""
    return [name for name, body in commands.sent if body.get(name) == "calls"]


@pytest.mark.parametrize("asked_for", BY_NAME)
async def test_a_page_has_the_calls_of_a_version_that_appeared_after_the_last_page(
    calls: CallsStore, asked_for: dict[str, Any]
) -> None:
    before = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **asked_for)
    await calls.write([start(30, op_name=f"{ANSWER}:v3")])
    after = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **asked_for)
    again = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=NEWEST, **asked_for)

    assert numbers(before) == [18, 17, 15, 13, 12]
    assert numbers(after) == numbers(again) == [30, 18, 17, 15, 13]


@pytest.mark.parametrize("asked_for", BY_NAME)
async def test_a_cursor_goes_on_after_a_version_appeared(calls: CallsStore, asked_for: dict[str, Any]) -> None:
    first = await calls.page(PROJECT, PageRequest(10), {"id"}, **asked_for)
    await calls.write([start(30, op_name=f"{ANSWER}:v3")])
    rest = await calls.page(PROJECT, PageRequest(10, first.end_cursor), {"id"}, **asked_for)

    assert numbers(first) == [0, 2, 3, 5, 7, 8, 10, 12, 13, 15]
    assert numbers(rest) == [17, 18, 30]


@pytest.mark.parametrize("sort_by", [None, NEWEST], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("asked_for", BY_NAME[:-1])
async def test_a_page_by_name_comes_in_the_order_of_an_index(
    calls: CallsStore, asked_for: dict[str, Any], sort_by: list[SortBy] | None
) -> None:
    await calls.write([start(number, op_name=f"{ANSWER}:v{number % 3}") for number in range(100, 400)])
    await calls.write([start(number, op_name="plain") for number in range(400, 1600)])

    plan = await calls.explain(PROJECT, sort_by=sort_by, **asked_for)

    assert not plan.sorts_in_memory
    assert plan.returned == 101
    assert plan.keys_examined <= 120


async def test_a_page_reads_the_versions_beside_its_calls_and_looks_twice_only_for_a_new_one(
    calls: CallsStore, commands: Commands
) -> None:
    counts = []
    for written in (None, None, "v2", "v3", None):
        if written:
            await calls.write([start(30, op_name=f"{ANSWER}:{written}")])
        commands.sent.clear()
        await calls.page(PROJECT, PageRequest(5), {"id"}, **named("answer"))
        counts.append(sorted(reads(commands)))

    assert counts == [["aggregate", "find"]] * 3 + [["aggregate", "find", "find"]] + [["aggregate", "find"]]


async def test_a_page_by_refs_and_a_page_by_another_order_read_no_versions(
    calls: CallsStore, commands: Commands
) -> None:
    commands.sent.clear()
    await calls.page(PROJECT, PageRequest(5), {"id"}, **named(f"{ANSWER}:v1"))
    await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=[SortBy("id")], **named("answer"))

    assert reads(commands) == ["find", "find"]


async def test_too_many_versions_are_counted_once_and_the_pages_are_complete(
    calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.calls.op_versions.MAX_VERSIONS", 1)
    pages = []
    for _ in range(2):
        commands.sent.clear()
        first = await calls.page(PROJECT, PageRequest(10), {"id"}, **named("answer"))
        rest = await calls.page(PROJECT, PageRequest(10, first.end_cursor), {"id"}, **named("answer"))
        pages.append((reads(commands), numbers(first), numbers(rest)))

    found = [0, 2, 3, 5, 7, 8, 10, 12, 13, 15], [17, 18]
    assert pages == [(["aggregate", "find", "find"], *found), (["find", "find"], *found)]


async def test_a_list_goes_on_by_cursor_when_its_versions_become_too_many(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.calls.op_versions.MAX_VERSIONS", 2)
    first = await calls.page(PROJECT, PageRequest(10), {"id"}, **named("answer"))
    await calls.write([start(30, op_name=f"{ANSWER}:v3")])
    rest = await calls.page(PROJECT, PageRequest(10, first.end_cursor), {"id"}, **named("answer"))

    assert numbers(rest) == [17, 18, 30]


async def test_a_page_by_many_names_is_complete(calls: CallsStore, commands: Commands) -> None:
    names = [*(f"none{number}" for number in range(MAX_PREFIXES)), "answer"]
    commands.sent.clear()
    page = await calls.page(PROJECT, PageRequest(3), {"id"}, sort_by=NEWEST, **named(*names))

    assert numbers(page) == [18, 17, 15]
    assert reads(commands) == ["find"]


async def test_a_name_and_a_condition_on_feedback_find_the_calls_of_a_new_version(
    calls: CallsStore, database: Database
) -> None:
    by_both = asked(
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
