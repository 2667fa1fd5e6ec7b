"""Tests that an index answers frequent queries: no sort in memory, and few more keys examined than rows returned."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores.calls import CallEnd, CallsFilter, CallsStore, CallStart
from stores.database import Database, Document
from stores.database.indexes import INDEXES
from stores.database.shard_keys import SUPPORTING_INDEX
from stores.paging import PageRequest
from stores.query.explain import Plan, explain
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

TRACES = 300
CALLS = 10 * TRACES
USING = 8
"""Number of the call in each trace that reports tokens, if it has ended."""
SIZE = 20

OLDEST = [SortBy("started_at")]
NEWEST = [SortBy("started_at", descending=True)]
SLOWEST = [SortBy("latency_ms", descending=True)]
ROOTS = CallsFilter(trace_roots_only=True)
ERRORS = CallsFilter(errors_only=True)
TRACE = CallsFilter(trace_ids=[trace_id(1500)])
THREAD = CallsFilter(thread_ids=["thread 7"])
PARENT = CallsFilter(parent_ids=[call_id(1500)])
OP = CallsFilter(op_names=["weave:///acme/chat/op/op1:v1"])


@dataclass(frozen=True)
class Stock:
    """A store of a few thousand calls, with the commands that it sends."""

    client: AsyncIOMotorClient[Document]
    name: str
    commands: Commands
    calls: CallsStore

    async def plan(
        self, request: PageRequest, calls_filter: CallsFilter | None = None, sort_by: list[SortBy] | None = None
    ) -> Plan:
        """Read a page and return its query plan."""
        await self.calls.page(PROJECT, request, {"id", "op_name", "inputs"}, calls_filter, sort_by)
        return await self.last_plan()

    async def last_plan(self) -> Plan:
        """Return the query plan of the last page."""
        _, sent = self.commands.sent[-1]
        name = sent.get("find") or sent["aggregate"]
        return await explain(self.client[self.name][name], self.commands.last_pipeline)


def traces() -> list[CallStart | CallEnd]:
    """Return traces of ten calls, two starting each second; every seventh call is running, some fail."""
    parts: list[CallStart | CallEnd] = []
    for number in range(CALLS):
        root = number // 10 * 10
        is_root = number == root
        parts.append(
            start(
                number,
                trace_id=trace_id(root),
                parent_id=None if is_root else call_id(root if number % 10 < 4 else root + 2),
                op_name=f"weave:///acme/chat/op/op{number % 5}:v{number % 3}",
                thread_id=f"thread {root // 100}" if is_root else None,
                started_at=NOON + number // 2 * SECOND,
            )
        )
        if number % 7:
            summary = {"usage": {"m": {"total_tokens": number % 3}}} if number % 10 == USING else {}
            parts.append(end(number, exception="broken" if number % 11 == 0 else None, summary=summary))
    return parts


@pytest.fixture(scope="module")
async def stock(mongodb_uri: str) -> AsyncIterator[Stock]:
    commands = Commands()
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongodb_uri, event_listeners=[commands])
    name = f"test_{uuid.uuid4().hex[:16]}"
    database = Database(client, name)
    await database.ensure_indexes()
    calls = CallsStore(database)
    await calls.write(traces())
    await calls.write([start(number, project_id="acme/other") for number in range(1000)])
    yield Stock(client, name, commands, calls)
    await client.drop_database(name)
    client.close()


HOT = [
    pytest.param(None, None, "started_at_id_compressed", id="the default list"),
    pytest.param(None, NEWEST, "started_at_id_compressed", id="newest first"),
    pytest.param(TRACE, None, "trace_id_started_at_id_storage_size_bytes", id="a trace"),
    pytest.param(THREAD, None, "thread_id_started_at_id_compressed", id="a thread"),
    pytest.param(PARENT, None, "parent_id_started_at_id", id="children"),
    pytest.param(OP, None, "op_name_started_at_id_compressed", id="an op"),
    pytest.param(OP, NEWEST, "op_name_started_at_id_compressed", id="an op, newest first"),
    pytest.param(ROOTS, None, "parent_id_started_at_id", id="roots"),
    pytest.param(ROOTS, NEWEST, "parent_id_started_at_id", id="roots, newest first"),
    pytest.param(None, [SortBy("status"), *OLDEST], "status_started_at_id_compressed", id="by status and age"),
    pytest.param(
        None, [SortBy("status", descending=True), *NEWEST], "status_started_at_id_compressed", id="the reverse"
    ),
    pytest.param(None, SLOWEST, "latency_ms_id", id="slowest first"),
    pytest.param(ERRORS, NEWEST, "status_started_at_id_compressed", id="errors, newest first"),
]


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(("calls_filter", "sort_by", "index"), HOT)
async def test_first_page_is_read_in_index_order(
    stock: Stock, calls_filter: CallsFilter | None, sort_by: list[SortBy] | None, index: str, *, backward: bool
) -> None:
    plan = await stock.plan(PageRequest(SIZE, backward=backward), calls_filter, sort_by)

    assert plan.indexes == {index}
    assert not plan.stages & {"COLLSCAN", "SORT", "$sort"}
    assert plan.keys_examined == plan.documents_examined == plan.returned <= SIZE + 1


@pytest.mark.parametrize("backward", [False, True], ids=["after", "before"])
@pytest.mark.parametrize(("calls_filter", "sort_by", "index"), HOT)
async def test_page_by_cursor_starts_at_its_index_position(
    stock: Stock, calls_filter: CallsFilter | None, sort_by: list[SortBy] | None, index: str, *, backward: bool
) -> None:
    everything = await stock.calls.page(PROJECT, PageRequest(10_000), {"id"}, calls_filter, sort_by)
    middle = everything.cursor(everything.rows[len(everything.rows) // 2])

    plan = await stock.plan(PageRequest(SIZE, middle, backward), calls_filter, sort_by)

    assert plan.indexes == {index}
    assert not plan.stages & {"COLLSCAN", "SORT", "$sort"}
    assert plan.documents_examined <= plan.keys_examined <= plan.returned + 3


@pytest.mark.parametrize("order", [(False, True), (True, False)], ids=["ascending", "descending"])
async def test_statuses_are_merged_in_the_other_direction_of_time(stock: Stock, order: tuple[bool, bool]) -> None:
    sort_by = [SortBy("status", order[0]), SortBy("started_at", order[1])]
    everything = await stock.calls.page(PROJECT, PageRequest(10_000), {"id"}, None, sort_by)
    middle = everything.cursor(everything.rows[len(everything.rows) // 2])

    for backward in (False, True):
        for request in (PageRequest(SIZE, backward=backward), PageRequest(SIZE, middle, backward)):
            plan = await stock.plan(request, None, sort_by)

            assert plan.indexes == {"status_started_at_id_compressed"}
            assert not plan.stages & {"COLLSCAN", "SORT", "$sort"}
            assert plan.documents_examined == plan.returned
            assert plan.keys_examined <= plan.returned + 5


async def test_calls_without_tokens_follow_by_id(stock: Stock) -> None:
    most_tokens = [SortBy("total_tokens", descending=True)]
    everything = await stock.calls.page(PROJECT, PageRequest(10_000), {"id"}, None, most_tokens)
    tokens = [row.get("total_tokens") for row in everything.rows]
    boundary = tokens.index(None)
    assert SIZE < boundary < len(tokens) // 2

    for at, backward, index in (
        (0, False, "total_tokens_id"),
        (boundary // 2, False, "total_tokens_id"),
        (boundary // 2, True, "total_tokens_id"),
        (boundary, True, "total_tokens_id"),
        (boundary, False, "_id_"),
        (2 * boundary, True, "_id_"),
    ):
        plan = await stock.plan(PageRequest(SIZE, everything.cursor(everything.rows[at]), backward), None, most_tokens)

        assert plan.indexes == {index}
        assert not plan.stages & {"COLLSCAN", "SORT", "$sort"}
        # Between two calls without tokens there may be one with tokens.
        assert plan.keys_examined <= 2 * plan.returned + 3


async def test_several_traces_are_merged_in_index_order(stock: Stock) -> None:
    plan = await stock.plan(PageRequest(SIZE), CallsFilter(trace_ids=[trace_id(1500), trace_id(20), trace_id(700)]))

    assert plan.indexes == {"trace_id_started_at_id_storage_size_bytes"}
    assert "SORT" not in plan.stages
    assert plan.keys_examined <= plan.returned + 3


async def test_calls_by_id_are_looked_up_one_by_one(stock: Stock) -> None:
    plan = await stock.plan(PageRequest(SIZE), CallsFilter(call_ids=[call_id(number) for number in range(5, 500, 100)]))

    assert plan.indexes == {"_id_"}
    assert plan.documents_examined == plan.returned == 5
    assert plan.keys_examined <= 10


async def test_all_versions_of_a_rare_op_are_found_by_name(stock: Stock) -> None:
    await stock.calls.write([start(CALLS + number, op_name=f"rare:v{number}") for number in range(8)])

    plan = await stock.plan(PageRequest(SIZE), CallsFilter(op_names=["rare:*"]))
    await stock.calls.count(PROJECT, CallsFilter(op_names=["rare:*"]))
    counted = await stock.last_plan()

    assert plan.indexes == {"op_name_started_at_id_compressed"}
    assert plan.documents_examined == plan.returned == 8
    assert counted.documents_examined == 0
    assert counted.keys_examined <= 10


@pytest.mark.parametrize("name", ["op1", "op1:*", "weave:///acme/chat/op/op1:*"])
async def test_count_by_op_name_reads_only_keys_of_its_versions(stock: Stock, name: str) -> None:
    count = await stock.calls.count(PROJECT, CallsFilter(op_names=[name]))
    plan = await stock.last_plan()

    assert count == CALLS // 5
    assert plan.documents_examined == 0
    assert plan.keys_examined <= count + 10


async def test_count_reads_no_document(stock: Stock) -> None:
    await stock.calls.count(PROJECT, ROOTS)
    plan = await stock.last_plan()

    assert plan.documents_examined == 0
    assert plan.keys_examined <= TRACES + 20


async def test_every_index_has_a_unique_name_and_is_built_once(stock: Stock, database: Database) -> None:
    await database.ensure_indexes()
    built = await database.calls.index_information()
    built.pop(SUPPORTING_INDEX, None)
    keys = {index.name: index.keys for index in INDEXES if index.collection == "calls"}

    assert set(built) == {"_id_", *keys}
    assert len(built) == 1 + sum(index.collection == "calls" for index in INDEXES)
    assert {name: built[name]["key"] for name in keys} == keys
    elsewhere = await stock.client[stock.name]["calls"].index_information()
    assert elsewhere.keys() - {SUPPORTING_INDEX} == set(built)
