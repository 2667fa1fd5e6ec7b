"""Tests of pages: valid arguments, the flags for neighboring pages, and valid cursors."""

import base64
from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.errors import BadInputError
from stores.paging import DEFAULT_SIZE, Page, PageRequest
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, start


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        ({}, PageRequest(DEFAULT_SIZE)),
        ({"first": 0}, PageRequest(0)),
        ({"first": 10_000}, PageRequest(10_000)),
        ({"first": 2, "after": "c", "offset": 3}, PageRequest(2, "c", backward=False, offset=3)),
        ({"last": 2, "before": "c"}, PageRequest(2, "c", backward=True)),
        ({"before": "c", "offset": 0}, PageRequest(DEFAULT_SIZE, "c", backward=True)),
    ],
)
def test_arguments_become_a_page_request(arguments: dict[str, Any], request_: PageRequest) -> None:
    assert PageRequest.from_arguments(**arguments) == request_


@pytest.mark.parametrize(
    ("arguments", "argument", "reason"),
    [
        ({"first": -1}, "first", "-1 is negative"),
        ({"first": 10_001}, "first", "10,001 exceeds the limit of 10,000"),
        ({"last": 10_001}, "last", "LOOMQL_MAX_PAGE_SIZE"),
        ({"last": -1}, "last", "negative"),
        ({"offset": -1}, "offset", "negative"),
        ({"first": 51, "max_size": 50}, "first", "the limit of 50"),
        ({"first": 1, "last": 1}, "first", "pages forward"),
        ({"after": "c", "before": "c"}, "after", "pages forward"),
        ({"last": 1, "offset": 1}, "offset", "counts from the start"),
    ],
)
def test_invalid_page_arguments_are_refused(arguments: dict[str, Any], argument: str, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        PageRequest.from_arguments(**arguments)

    assert refused.value.argument == argument
    assert reason in refused.value.message


@pytest.fixture
async def ten_calls(calls: CallsStore) -> None:
    await calls.write([start(number) for number in range(10)])


def numbers(page: Page) -> list[int]:
    return [int(row["id"][-12:], 16) for row in page.rows]


async def page(calls: CallsStore, **arguments: Any) -> Page:
    return await calls.page(PROJECT, PageRequest.from_arguments(**arguments), {"id"})


@pytest.mark.usefixtures("ten_calls")
async def test_page_reports_rows_before_and_after_it(calls: CallsStore) -> None:
    first = await page(calls, first=4)
    middle = await page(calls, first=4, after=first.cursor(first.rows[-1]))
    last = await page(calls, first=4, after=middle.cursor(middle.rows[-1]))
    back = await page(calls, last=4, before=last.cursor(last.rows[0]))
    start_ = await page(calls, last=4, before=back.cursor(back.rows[0]))

    assert (numbers(first), first.has_previous, first.has_next) == ([0, 1, 2, 3], False, True)
    assert (numbers(middle), middle.has_previous, middle.has_next) == ([4, 5, 6, 7], True, True)
    assert (numbers(last), last.has_previous, last.has_next) == ([8, 9], True, False)
    assert (numbers(back), back.has_previous, back.has_next) == ([4, 5, 6, 7], True, True)
    assert (numbers(start_), start_.has_previous, start_.has_next) == ([0, 1, 2, 3], False, True)


@pytest.mark.usefixtures("ten_calls")
async def test_last_rows_are_in_list_order(calls: CallsStore) -> None:
    end_ = await page(calls, last=3)

    assert (numbers(end_), end_.has_previous, end_.has_next) == ([7, 8, 9], True, False)


@pytest.mark.usefixtures("ten_calls")
async def test_offset_skips_rows(calls: CallsStore) -> None:
    skipped = await page(calls, first=2, offset=3)
    after = await page(calls, first=2, offset=3, after=skipped.cursor(skipped.rows[-1]))
    beyond = await page(calls, offset=11)

    assert (numbers(skipped), skipped.has_previous, skipped.has_next) == ([3, 4], True, True)
    assert numbers(after) == [8, 9]
    assert (numbers(beyond), beyond.has_next) == ([], False)


@pytest.mark.usefixtures("ten_calls")
async def test_empty_page_reports_rows_before_and_after_it(calls: CallsStore) -> None:
    nothing = await page(calls, first=0)

    assert (nothing.rows, nothing.has_next) == ([], True)
    assert (await calls.page("acme/none", PageRequest(0), {"id"})).has_next is False


@pytest.mark.usefixtures("ten_calls")
async def test_cursor_works_after_its_row_is_deleted(calls: CallsStore) -> None:
    first = await page(calls, first=4)
    await calls.delete(PROJECT, [call_id(3), call_id(5)])

    assert numbers(await page(calls, first=4, after=first.cursor(first.rows[-1]))) == [4, 6, 7, 8]


@pytest.mark.usefixtures("ten_calls")
async def test_cursor_is_valid_only_for_its_query(calls: CallsStore) -> None:
    first = await page(calls, first=4)
    cursor = first.cursor(first.rows[-1])
    request = PageRequest(4, cursor)
    others = [
        calls.page("acme/other", request, {"id"}),
        calls.page(PROJECT, request, {"id"}, CallsFilter(trace_roots_only=True)),
        calls.page(PROJECT, request, {"id"}, None, [SortBy("started_at", descending=True)]),
        calls.page(PROJECT, request, {"id"}, None, [SortBy("ended_at", descending=True)]),
    ]

    for other in others:
        with pytest.raises(BadInputError, match="not a cursor of this query") as refused:
            await other
        assert refused.value.argument == "after"


@pytest.mark.usefixtures("ten_calls")
async def test_cursor_of_one_json_path_is_invalid_for_another(calls: CallsStore) -> None:
    first = await calls.page(PROJECT, PageRequest(4), {"id"}, None, [SortBy("inputs.a")])
    request = PageRequest(4, first.cursor(first.rows[-1]))

    assert len((await calls.page(PROJECT, request, {"id"}, None, [SortBy("inputs.a")])).rows) == 4
    with pytest.raises(BadInputError, match="not a cursor of this query"):
        await calls.page(PROJECT, request, {"id"}, None, [SortBy("inputs.b")])


def altered(cursor: str) -> list[str]:
    content = base64.urlsafe_b64decode(cursor)
    flipped = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(len(content))]
    injected = content[:8] + b'[{"$gt":""},"x"]'
    return [base64.urlsafe_b64encode(bad).decode() for bad in (*flipped, injected, content[:-1], content[:8], b"")]


@pytest.mark.usefixtures("ten_calls")
async def test_forged_cursor_is_refused(calls: CallsStore, commands: Commands) -> None:
    first = await page(calls, first=4)
    commands.sent.clear()

    for bad in [*altered(first.cursor(first.rows[-1])), "", "x", "naïve", "AAAA", "\0", "=" * 5000]:
        with pytest.raises(BadInputError, match="not a cursor of this query with this filter and sort") as refused:
            await page(calls, last=4, before=bad)
        assert refused.value.argument == "before"
    assert commands.sent == []


async def test_page_is_one_command_that_reads_only_selected_fields(calls: CallsStore, commands: Commands) -> None:
    await calls.write([start(number, inputs={"text": "x" * 1000}) for number in range(300)])
    commands.sent.clear()

    narrow = await calls.page(PROJECT, PageRequest(250), {"id"})

    assert commands.names == ["find"]
    assert commands.last("find")["projection"] == {"_id": 0, "id": 1, "started_at": 1}
    assert {frozenset(row) for row in narrow.rows} == {frozenset({"id", "started_at"})}
    assert len(narrow.rows) == 250


async def test_page_reads_exactly_the_selected_fields(calls: CallsStore, commands: Commands) -> None:
    await calls.write([start(1, inputs={"a": 1}, attributes={"b": 2})])
    commands.sent.clear()

    one = await calls.one(PROJECT, call_id(1), {"inputs"})
    listed = await calls.page(PROJECT, PageRequest(), {"attributes", "status"})

    assert one == {"id": call_id(1), "json": {"inputs": '{"a":1}'}}
    assert [row["json"] for row in listed.rows] == [{"attributes": '{"b":2}'}]
    assert commands.names == ["find", "find"]


async def test_total_sizes_take_one_command_for_any_page(calls: CallsStore, commands: Commands) -> None:
    await calls.write([start(number) for number in range(300)])
    commands.sent.clear()

    sized = await calls.page(PROJECT, PageRequest(250), {"total_storage_size_bytes"})

    assert commands.names == ["find", "aggregate"]
    assert [row["total_storage_size_bytes"] for row in sized.rows] == [4] * 250
