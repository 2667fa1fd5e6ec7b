"""Tests that random queries and sorts over random feedback give the model's results on a real server."""

from collections.abc import Sequence

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.errors import BadInputError
from stores.feedback import FeedbackStore, NewFeedback
from stores.paging import PageRequest
from stores.query import Query
from stores.query.parser import parse_query
from stores.query.sort import SortBy
from tests.chance import SEED, cases
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.calls.feedback.model import (
    ALL,
    NAMES,
    GeneratorOfFeedback,
    feedback_of,
    holds,
    mixes_types,
    teach,
)
from tests.stores.query.oracle import Row, in_order
from tests.stores.query.test_against_oracle import row_of

CALLS = 40
FEEDBACK = 90
QUERIES = cases(150)
SORTS = cases(12)
BOUNDS = (50_000, 12, 0)
"""Values of `MAX_FEEDBACK` that allow all prequeries, some of them, or almost none."""

AT_FIRST = (20, 5_000, 5)
"""Limits of the first attempt at a page, one for each bound: on feedback, and on calls that are looked up."""

EVERYTHING = {"$expr": {"$or": [{"$eq": [{"$literal": 1}, {"$literal": 1}]}]}}


async def fill(
    generator: GeneratorOfFeedback, calls: CallsStore, feedback: FeedbackStore, database: Database
) -> list[Row]:
    """Write calls, and feedback on most of them and on other refs. Return the visible calls with their feedback."""
    dice = generator.dice
    await calls.write([*generator.calls(CALLS), start(CALLS), start(0, project_id="acme/other")])
    await calls.delete(PROJECT, [call_id(CALLS)])
    written = []
    for number in range(FEEDBACK):
        on = call_id(dice.choice((dice.randrange(CALLS), dice.randrange(4), CALLS, 5 * CALLS)))
        ref = dice.choice((*[f"weave:///{PROJECT}/call/{on}"] * 9, f"weave:///acme/other/call/{on}", "nothing"))
        written.append(NewFeedback(PROJECT, ref, **generator.feedback(number)))
    on_other = [NewFeedback("acme/other", f"weave:///acme/other/call/{call_id(0)}", **generator.feedback(0))]
    await feedback.create([*written, *on_other])
    async for document in database.feedback.find({}, {"_id": 1}):
        moment = {"created_at": 1_700_000_000_000_000 + dice.randrange(4) * dice.choice((1, 1_000_000))}
        await database.feedback.update_one(document, {"$set": moment})
    found = [feedback_of(document) async for document in database.feedback.find({"project_id": PROJECT})]
    rows = [row_of(row) async for row in database.calls.find({"project_id": PROJECT, "visible": True})]
    return [row | {ALL: [each for each in found if each.get("call_id") == row["id"]]} for row in rows]


async def test_server_finds_exactly_the_calls_that_match_a_query(
    calls: CallsStore,
    feedback: FeedbackStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teach(monkeypatch)
    generator = GeneratorOfFeedback(SEED)
    rows = await fill(generator, calls, feedback, database)
    matched, named, mixed = 0, 0, 0

    for _ in range(QUERIES):
        tree, sort_by = generator.query(rows), generator.sort(rows)
        operation = parse_query(tree, NAMES)
        if mixes_types(operation):
            with pytest.raises(BadInputError, match="a comparison may use only one feedback type"):
                await calls.count(PROJECT, query=Query(tree))
            mixed += 1
            continue
        expected = [row["id"] for row in in_order(rows, sort_by) if holds(operation, row)]
        for bound, at_first in zip(BOUNDS, AT_FIRST, strict=True):
            monkeypatch.setattr("stores.calls.feedback.conditions.MAX_FEEDBACK", bound)
            monkeypatch.setattr("stores.calls.feedback.conditions.FIRST_MAX_FEEDBACK", at_first)
            monkeypatch.setattr("stores.calls.list_query._FIRST_LOOKED_UP", at_first)
            size = generator.dice.choice((3, CALLS))
            page = await calls.page(PROJECT, PageRequest(size), {"id"}, sort_by=sort_by, query=Query(tree))
            assert [row["id"] for row in page.rows] == expected[:size], f"{bound} {sort_by} {tree}"
            assert await calls.count(PROJECT, query=Query(tree)) == len(expected), f"{bound} {tree}"
        matched += len(expected)
        named += "feedback." in repr(tree)

    with capsys.disabled():
        print(f"\n{QUERIES} queries, {named} of feedback, {mixed} refused, {matched:,} matches")  # noqa: T201
    assert named > QUERIES / 3
    assert mixed < QUERIES / 5
    assert matched > QUERIES * CALLS / 10


@pytest.mark.parametrize("bound", BOUNDS)
async def test_feedback_sorts_page_through_the_matching_calls(
    calls: CallsStore,
    feedback: FeedbackStore,
    database: Database,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    bound: int,
) -> None:
    teach(monkeypatch)
    monkeypatch.setattr("stores.calls.feedback.conditions.MAX_FEEDBACK", bound)
    generator = GeneratorOfFeedback(SEED + 2)
    dice = generator.dice
    rows = await fill(generator, calls, feedback, database)
    led = 0

    for _ in range(SORTS):
        by_feedback = [key for key in generator.sort(rows) if key.field.startswith("feedback.")][:1]
        tree = dice.choice((EVERYTHING, generator.query(rows)))
        operation = parse_query(tree, NAMES)
        if not by_feedback or mixes_types(operation):
            continue
        sort_by = [*by_feedback, *dice.choice(([], [SortBy("id")], [SortBy("id", descending=True)]))]
        expected = [row["id"] for row in in_order(rows, sort_by) if holds(operation, row)]
        size, offset = dice.randint(1, 15), dice.randrange(CALLS)
        commands.sent.clear()

        for backward in (False, True):
            assert await walk(calls, size, sort_by, Query(tree), backward=backward) == expected, f"{sort_by} {tree}"
        page = await calls.page(PROJECT, PageRequest(size, offset=offset), {"id"}, sort_by=sort_by, query=Query(tree))
        assert [row["id"] for row in page.rows] == expected[offset : offset + size], f"{offset} {sort_by} {tree}"
        assert page.has_next == (offset + size < len(expected))
        after = page.rows and PageRequest(3, page.cursor(page.rows[0]), offset=2)
        if after:
            page = await calls.page(PROJECT, after, {"id"}, sort_by=sort_by, query=Query(tree))
            assert [row["id"] for row in page.rows] == expected[offset + 3 : offset + 6], f"{offset} {sort_by} {tree}"
        led += any("$unwind" in stage for _, body in commands.sent for stage in body.get("pipeline", ()))

    assert led > SORTS / 5


@pytest.mark.parametrize("bound", BOUNDS)
async def test_paging_returns_every_row_once_in_model_order(
    calls: CallsStore, feedback: FeedbackStore, database: Database, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    teach(monkeypatch)
    monkeypatch.setattr("stores.calls.feedback.conditions.MAX_FEEDBACK", bound)
    generator = GeneratorOfFeedback(SEED + 1)
    rows = await fill(generator, calls, feedback, database)

    for _ in range(SORTS):
        sort_by, size = generator.sort(rows), generator.dice.randint(3, 15)
        expected = [row["id"] for row in in_order(rows, sort_by)]

        for backward in (False, True):
            assert await walk(calls, size, sort_by, backward=backward) == expected, sort_by


async def walk(
    calls: CallsStore, size: int, sort_by: Sequence[SortBy], query: Query | None = None, *, backward: bool
) -> list[str]:
    """Return the ids of a whole list, read page by page, in list order."""
    ids: list[str] = []
    cursor, more = None, True
    while more:
        page = await calls.page(PROJECT, PageRequest(size, cursor, backward), {"id"}, sort_by=sort_by, query=query)
        here = [row["id"] for row in page.rows]
        assert len(here) <= size
        ids = here + ids if backward else ids + here
        more = page.has_previous if backward else page.has_next
        cursor = page.cursor(page.rows[0 if backward else -1]) if page.rows else None
    return ids
