"""Tests that an export reads a whole list in pages of bounded size, each row once."""

import asyncio

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.errors import UnavailableError
from stores.exports import LISTS, ReadPage, RowSelection, pages
from stores.feedback import FeedbackStore
from stores.paging import Order, Page, PageRequest, SortKey
from stores.query.sort import SortBy
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.feedback.builders import call_ref, feedback

LARGE = {"text": "x" * 400_000}


async def read_all(read: ReadPage, after: str | None = None) -> list[Page]:
    return [page async for page in pages(read, after)]


def ids(found: list[Page]) -> list[str]:
    return [row["id"] for page in found for row in page.rows]


@pytest.mark.parametrize("count", [0, 1, 50, 51, 250])
async def test_each_row_is_read_once_also_with_exactly_full_pages(
    database: Database, calls: CallsStore, count: int
) -> None:
    await calls.write([start(number) for number in range(count)])

    found = await read_all(LISTS["calls"].page_reader(database, RowSelection(PROJECT)))

    assert ids(found) == [call_id(number) for number in range(count)]
    assert all(page.rows for page in found[1:])


def _page(number: int, *, has_next: bool) -> Page:
    return Page([{"id": str(number)}], has_next, number > 0, Order({}, (SortKey("id"),)), b"list")


async def test_next_page_is_read_ahead() -> None:
    read_pages: list[int] = []

    async def read(_request: PageRequest) -> Page:
        read_pages.append(len(read_pages))
        return _page(read_pages[-1], has_next=read_pages[-1] < 2)

    seen = []
    async for page in pages(read):
        await asyncio.sleep(0.01)
        seen.append((ids([page]), len(read_pages)))

    assert seen == [(["0"], 2), (["1"], 3), (["2"], 3)]


async def test_read_ahead_failure_is_raised_when_its_page_is_due() -> None:
    async def read(request: PageRequest) -> Page:
        if request.cursor:
            raise UnavailableError("the database is away")
        return _page(0, has_next=True)

    found = pages(read)
    first = await anext(found)
    await asyncio.sleep(0.01)
    with pytest.raises(UnavailableError, match="the database is away"):
        await anext(found)
    left = pages(read)
    await anext(left)
    await left.aclose()

    assert ids([first]) == ["0"]


async def test_pages_end_early_with_large_rows(database: Database, calls: CallsStore) -> None:
    for number in range(12):
        await calls.write([start(number, inputs=LARGE if number < 10 else {})])

    found = await read_all(LISTS["calls"].page_reader(database, RowSelection(PROJECT)))

    assert ids(found) == [call_id(number) for number in range(12)]
    assert max(len(page.rows) for page in found) <= 4


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_end_early_with_a_feedback_sort(
    database: Database,
    calls: CallsStore,
    descending: bool,  # noqa: FBT001 -- a case
) -> None:
    for number in range(8):
        await calls.write([start(number, inputs=LARGE)])
    scores = [feedback({"n": number % 3}, weave_ref=call_ref(number)) for number in range(5)]
    await FeedbackStore(database).create(scores)
    selection = RowSelection(PROJECT, sort_by=[SortBy("feedback.[custom].payload.n", descending=descending)])
    read = LISTS["calls"].page_reader(database, selection)

    whole, found = await read(PageRequest(10)), [await read(PageRequest(10, max_characters=700_000))]
    while found[-1].has_next:
        after = found[-1].cursor(found[-1].rows[-1])
        found.append(await read(PageRequest(10, after, max_characters=700_000)))

    assert sorted(ids(found)) == [call_id(number) for number in range(8)]
    assert ids(found) == ids([whole])
    assert max(len(page.rows) for page in found) <= 3


async def test_page_has_at_least_one_row_and_a_next_page_flag(calls: CallsStore) -> None:
    await calls.write([start(number, inputs=LARGE) for number in range(2)])

    first = await calls.page(PROJECT, PageRequest(10, max_characters=1), ["id", "inputs"])
    rest = await calls.page(PROJECT, PageRequest(10, first.cursor(first.rows[0]), max_characters=1), ["id", "inputs"])

    assert ([row["id"] for row in first.rows], first.has_next) == ([call_id(0)], True)
    assert ([row["id"] for row in rest.rows], rest.has_next) == ([call_id(1)], False)


async def test_list_continues_after_a_cursor_in_order(database: Database, calls: CallsStore) -> None:
    await calls.write([start(number, inputs={"n": number % 7}) for number in range(120)])
    selection = RowSelection(PROJECT, sort_by=[SortBy("inputs.n", descending=True)])
    read = LISTS["calls"].page_reader(database, selection)
    whole = await read_all(read)

    rest = await read_all(read, whole[0].cursor(whole[0].rows[30]))

    assert ids(rest) == ids(whole)[31:]
