"""Tests of the results of searches by a scan and by an index."""

from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.database import Database
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.paging import PageRequest
from stores.query import Query
from stores.text_search import Method, TextSearchStore, pages
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start
from tests.stores.feedback.builders import call_ref, reaction
from tests.stores.text_search.conftest import Found, Index, Search

OTHER = "acme/other"
SIGNS = "a+b(c)*[d]{2} ^$.|\\ \"quoted\" 'x' $where"


async def store_some(calls: CallsStore) -> None:
    """Write calls with "weft" and "warp" in different fields."""
    await calls.write(
        [
            start(1, inputs={"question": "What is the weft?", "n": 4711}),
            start(2, inputs={"messages": [{"content": "the warp and the weft"}]}),
            end(2, output={"answer": "Weft is a thread."}),
            start(3, op_name="weft.answer"),
            end(3, exception="WeftError: the warp broke"),
            start(4, display_name="about weft", inputs={"text": SIGNS}),
            start(5, inputs={"text": "全文検索です", "name": "ConnectionTimeout read_timeout"}),
            start(6, project_id=OTHER, inputs={"question": "What is the weft?"}),
        ]
    )


@pytest.fixture(params=list(Method))
async def method(request: pytest.FixtureRequest, calls: CallsStore, index: Index) -> Method:
    """Return each search method, after writing the calls and, for the index, indexing them."""
    await store_some(calls)
    if request.param is Method.INDEX:
        await index()
    return Method(request.param)


@pytest.mark.usefixtures("method")
async def test_result_names_the_search_method(search: Search, method: Method) -> None:
    assert (await search("weft")).method is method


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("weft", {1, 2, 3, 4}),
        ("WEFT warp", {2, 3}),
        ('"the weft"', {1, 2}),
        ('"THE WARP" thread', {2}),
        ("weft -warp", {1, 4}),
        ('weft -"is a thread"', {1, 3, 4}),
        ("4711", {1}),
        ("question", {1}),
        ("検索", {5}),
        ("検", {5}),
        ("索検", set()),
        ("connection timeout", {5}),
        ("READ_TIMEOUT", {5}),
        ("a+b(c)*[d]{2}", {4}),
        ('"$where"', {4}),
        ('"quoted', {4}),
        ("weft?", {1}),
        ("^$.|\\", {4}),
        ("nothing", set()),
        (".*", set()),
        ("\0", set()),
    ],
)
async def test_calls_that_contain_all_words_are_found(
    found: Found, method: Method, text: str, numbers: set[int]
) -> None:
    assert set(await found(text)) == numbers
    assert method


async def test_scan_finds_text_inside_words(found: Found, method: Method) -> None:
    assert set(await found("eft", Method.SCAN)) == {1, 2, 3, 4}
    assert await found("eft", method) == (await found("eft", Method.SCAN) if method is Method.SCAN else [])


async def test_scores_depend_on_the_field_of_the_match(search: Search, method: Method) -> None:
    page = await search("weft")

    scores = {int(row["id"][-12:], 16): row["search_score"] for row in page.rows}
    assert scores == {1: 1, 2: 3, 3: 12, 4: 8}
    assert page.method is method


async def test_index_returns_best_matches_first_and_scan_newest_first(found: Found, method: Method) -> None:
    assert await found("weft") == ([3, 4, 2, 1] if method is Method.INDEX else [4, 3, 2, 1])


async def test_pages_by_cursor_form_one_list(search: Search, found: Found, method: Method) -> None:
    whole = await found("weft")
    rows: list[Any] = []
    after, pages = None, 0
    while True:
        page = await search("weft", size=1, cursor=after)
        rows += page.rows
        pages += 1
        assert page.has_previous == (after is not None)
        if not page.has_next:
            break
        after = page.end_cursor

    assert [int(row["id"][-12:], 16) for row in rows] == whole
    assert pages == 4
    assert page.is_complete
    assert page.method is method


async def test_pages_by_cursor_backward_form_the_same_list(search: Search, found: Found, method: Method) -> None:
    whole = await found("weft")
    rows: list[Any] = []
    before = None
    while True:
        page = await search("weft", size=3, cursor=before, backward=True)
        rows = page.rows + rows
        assert page.has_next == (before is not None)
        assert page.method is method
        if not page.has_previous:
            break
        before = page.start_cursor

    assert [int(row["id"][-12:], 16) for row in rows] == whole
    following = await search("weft", size=4, cursor=page.end_cursor)
    assert [int(row["id"][-12:], 16) for row in following.rows] == whole[len(page.rows) :]
    with pytest.raises(BadInputError, match="not a cursor of this search") as refused:
        await search("warp", cursor=before, backward=True)
    assert refused.value.argument == "before"


async def test_ties_are_in_descending_order_of_id(calls: CallsStore, index: Index, search: Search) -> None:
    await calls.write([start(number, inputs={"q": "the selvedge"}, started_at=NOON) for number in range(9)])
    await index()
    await calls.write([start(9, inputs={"q": "the selvedge"}, started_at=NOON)])  # perhaps not indexed

    for method in Method:
        for backward in (False, True):
            found: list[int] = []
            cursor: str | None = None
            is_last = False
            while not is_last:
                page = await search("selvedge", method, 2, cursor, backward=backward)
                numbers = [int(row["id"][-12:], 16) for row in page.rows]
                found = numbers + found if backward else found + numbers
                cursor = page.start_cursor if backward else page.end_cursor
                is_last = not (page.has_previous if backward else page.has_next)
            assert found == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], (method, backward)


async def test_matches_beyond_the_ranked_ones_are_counted(
    calls: CallsStore, index: Index, search: Search, store: TextSearchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_CANDIDATES", 2)
    await store_some(calls)
    await index()
    await calls.write([start(7, inputs={"q": "the weft"}), start(8, inputs={"q": "the warp"})])  # not indexed

    page = await search("weft", Method.INDEX)

    assert (len(page.rows), page.is_complete) == (3, False)
    assert await store.count(PROJECT, "weft", method=Method.INDEX) == 5
    assert await store.count(PROJECT, "warp", method=Method.INDEX) == 3
    assert (await search("heddle", Method.INDEX)).is_complete


async def test_cursors_of_another_search_are_refused(search: Search, store: TextSearchStore, method: Method) -> None:
    cursor = (await search("weft", size=1)).end_cursor

    for text, which in (("warp", None), ("weft", CallsFilter(trace_roots_only=True))):
        with pytest.raises(BadInputError, match="not a cursor of this search") as refused:
            await store.page(PROJECT, text, PageRequest(1, cursor), [], which)
        assert refused.value.argument == "after"
    assert method


async def test_cursor_of_a_disabled_index_is_refused_by_name(
    calls: CallsStore, index: Index, search: Search, store: TextSearchStore
) -> None:
    await store_some(calls)
    await index()
    page = await search("weft", size=1)
    await store.set_index(PROJECT, is_on=False)

    for cursor, backward, argument in ((page.end_cursor, False, "after"), (page.start_cursor, True, "before")):
        with pytest.raises(BadInputError, match="was switched off; start the search again") as refused:
            await search("weft", cursor=cursor, backward=backward)
        assert refused.value.argument == argument


async def test_filters_and_queries_restrict_a_search(
    store: TextSearchStore, database: Database, method: Method
) -> None:
    await FeedbackStore(database).create([reaction(weave_ref=call_ref(2))])

    async def numbers(which: CallsFilter | None = None, query: object = None) -> list[int]:
        condition = Query({"$expr": query}) if query else None
        page = await store.page(PROJECT, "weft", PageRequest(), ["id"], which, condition)
        assert await store.count(PROJECT, "weft", which, condition, page.method) == len(page.rows)
        return sorted(int(row["id"][-12:], 16) for row in page.rows)

    after_one = {"$gt": [{"$getField": "started_at"}, {"$literal": (NOON + SECOND) / SECOND}]}
    has_feedback = {"$eq": [{"$getField": "feedback.[wandb.reaction.1].payload.emoji"}, {"$literal": "👍"}]}

    assert await numbers(CallsFilter(op_names=["answer"])) == [1, 2, 4]
    assert await numbers(query=after_one) == [2, 3, 4]
    assert await numbers(CallsFilter(op_names=["answer"]), has_feedback) == [2]
    assert method


async def test_count_covers_all_pages(store: TextSearchStore, method: Method) -> None:
    assert await store.count(PROJECT, "weft", method=method) == 4
    assert await store.count(PROJECT, "nothing", method=method) == 0


async def test_deleted_call_is_not_found(
    calls: CallsStore, found: Found, store: TextSearchStore, method: Method
) -> None:
    await calls.delete(PROJECT, [call_id(1)])

    assert set(await found("weft")) == {2, 3, 4}
    assert await store.count(PROJECT, "weft", method=method) == 3


async def test_rewritten_call_is_found_by_its_new_text(calls: CallsStore, found: Found, method: Method) -> None:
    await calls.write([start(1, inputs={"question": "What is the heddle?"}), end(2, output="No more.")])
    await calls.rename(PROJECT, call_id(3), "the heddle")
    await calls.rename(PROJECT, call_id(4), "")

    assert set(await found("weft")) == {2, 3}
    assert set(await found("heddle")) == {1, 3}
    assert await found("thread") == []
    assert method


async def test_no_other_project_is_searched(store: TextSearchStore, method: Method) -> None:
    page = await store.page(OTHER, "weft", PageRequest(), [])

    assert [row["id"] for row in page.rows] == [call_id(6)]
    assert page.method is Method.SCAN
    assert method


async def test_text_without_words_uses_a_scan(search: Search, method: Method) -> None:
    page = await search(")*[")

    assert (page.method, len(page.rows)) == (Method.SCAN, 1)
    assert method
    if method is Method.INDEX:
        with pytest.raises(BadInputError, match="the text has none"):
            await search(")*[", Method.INDEX)


async def test_missing_index_cannot_be_required(calls: CallsStore, search: Search) -> None:
    await store_some(calls)

    with pytest.raises(BadInputError, match="no text index that is ready") as refused:
        await search("weft", Method.INDEX)

    assert refused.value.argument == "method"


@pytest.mark.timings(scan_seconds=0, scan_batch_seconds=0)
async def test_timed_out_scan_returns_a_cursor_to_continue(
    calls: CallsStore, store: TextSearchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_FIRST_BATCH", 2)
    await calls.write([start(number, inputs={"rare": "heddle"} if number == 1 else {}) for number in range(1, 6)])

    rows, stops = [], 0
    page = await store.page(PROJECT, "heddle", PageRequest(10), [])
    while page.has_next:
        assert not page.is_complete
        stops += 1
        rows += page.rows
        page = await store.page(PROJECT, "heddle", PageRequest(10, page.end_cursor), [])
    rows += page.rows

    assert page.is_complete
    assert stops == 2
    assert [row["id"] for row in rows] == [call_id(1)]


@pytest.mark.timings(scan_seconds=0, scan_batch_seconds=0)
async def test_timed_out_backward_scan_returns_a_cursor_to_continue(
    calls: CallsStore, store: TextSearchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_FIRST_BATCH", 2)
    await calls.write([start(number, inputs={"rare": "heddle"} if number in {1, 5} else {}) for number in range(1, 6)])

    first = await store.page(PROJECT, "heddle", PageRequest(10, backward=True), [])
    second = await store.page(PROJECT, "heddle", PageRequest(10, first.start_cursor, backward=True), [])
    third = await store.page(PROJECT, "heddle", PageRequest(10, second.start_cursor, backward=True), [])

    found = (first, second, third)
    assert [[row["id"] for row in page.rows] for page in found] == [[call_id(1)], [], [call_id(5)]]
    assert [page.is_complete for page in found] == [False, False, True]
    assert [(page.has_previous, page.has_next) for page in found] == [(True, False), (True, True), (False, True)]


async def test_page_of_zero_rows_is_empty(store: TextSearchStore, method: Method) -> None:
    page = await store.page(PROJECT, "weft", PageRequest(0), [])

    assert (page.rows, page.has_next, page.end_cursor) == ([], True, None)
    assert method
