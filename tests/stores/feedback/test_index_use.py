"""Tests that an index answers frequent queries of feedback: no sort in memory, few documents examined in vain."""

import pytest

from stores.database import Database
from stores.feedback import FeedbackStore
from stores.paging import PageRequest
from stores.query import Query
from stores.query.explain import explain
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.feedback.builders import call_ref, feedback
from tests.stores.lookups import documents_examined

NEWEST = [SortBy("created_at", descending=True)]


def equals(name: str, value: object) -> Query:
    return Query({"$expr": {"$eq": [{"$getField": name}, {"$literal": value}]}})


@pytest.fixture
async def stock(store: FeedbackStore) -> FeedbackStore:
    """Store 600 pieces of feedback of three types on 100 calls."""
    kinds = [f"kind{number}" for number in range(3)]
    await store.create(
        [feedback({"n": n}, weave_ref=call_ref(n % 100), feedback_type=kinds[n % 3]) for n in range(600)]
    )
    return store


@pytest.mark.parametrize(
    ("query", "sort_by", "returned"),
    [
        (None, None, 21),
        (None, NEWEST, 21),
        (equals("feedback_type", "kind1"), None, 21),
        (equals("feedback_type", "kind1"), NEWEST, 21),
        (equals("weave_ref", call_ref(7)), None, 6),
        (None, [SortBy("feedback_type"), *NEWEST], 21),
    ],
)
@pytest.mark.not_on("cluster", reason="each shard reads a whole page")
@pytest.mark.parametrize("deep", [False, True])
async def test_list_is_read_by_an_index(
    stock: FeedbackStore,
    database: Database,
    commands: Commands,
    query: Query | None,
    sort_by: list[SortBy] | None,
    returned: int,
    *,
    deep: bool,
) -> None:
    page = await stock.page(PROJECT, PageRequest(size=20), {"creator"}, None, sort_by, query)
    if deep and page.has_next:
        await stock.page(PROJECT, PageRequest(20, page.cursor(page.rows[-1])), {"creator"}, None, sort_by, query)

    plan = await explain(database.feedback, commands.last_pipeline)

    assert plan.returned == returned
    assert not plan.sorts_in_memory
    assert plan.documents_examined <= returned + 2


async def test_stats_by_type_are_read_from_an_index_alone(
    stock: FeedbackStore, database: Database, commands: Commands
) -> None:
    await stock.stats(PROJECT)

    plan = await explain(database.feedback, commands.last_pipeline)

    assert plan.documents_examined == 0


async def test_feedback_of_a_page_of_calls_reads_only_that(
    stock: FeedbackStore, database: Database, commands: Commands
) -> None:
    keys = [(PROJECT, call_id(number)) for number in range(10)]

    pages = await stock.of_calls.pages(keys, frozenset({"id"}), PageRequest(size=2), frozenset())

    assert [len(page.rows) for page in pages.values()] == [2] * 10
    assert await documents_examined(database, commands) <= 10 * 3
    assert commands.names.count("aggregate") == 1
