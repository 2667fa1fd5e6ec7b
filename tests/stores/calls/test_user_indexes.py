"""Tests of users' own indexes for paths: queries by such a path use the index, and other paths are refused."""

from typing import Any

import pytest
from pymongo import ASCENDING, IndexModel

from stores.calls import CallsFilter, CallsStore
from stores.calls.user_indexes import MAX_INDEXES, UserIndex, UserIndexes
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.database import Database
from stores.errors import BadInputError, ConflictError, UnavailableError
from stores.query import Query
from stores.query.explain import Plan
from stores.query.sort import SortBy
from tests.stores.calls.builders import PROJECT, start

CALLS = 1000
CUSTOMER = UserIndex.parse_field(PROJECT, "inputs.customer_id")
AMOUNT = UserIndex.parse_field(PROJECT, "inputs.order.amount")


@pytest.fixture
def indexes(database: Database) -> UserIndexes:
    return UserIndexes(database)


@pytest.fixture
async def orders(indexes: UserIndexes, calls: CallsStore) -> CallsStore:
    """Write calls of 100 customers with amounts from 0 to 999, every fourth one a text, and index both fields."""
    await calls.write(
        [
            start(
                number,
                inputs={
                    "customer_id": f"customer {number % 100}",
                    "order": {"amount": str(number) if number % 4 == 0 else number},
                },
            )
            for number in range(CALLS)
        ]
    )
    await indexes.add(CUSTOMER)
    await indexes.add(AMOUNT)
    return calls


def field(name: str, to: str | None = None) -> dict[str, Any]:
    found = {"$getField": name}
    return {"$convert": {"input": found, "to": to}} if to else found


def literal(value: object) -> dict[str, Any]:
    return {"$literal": value}


def query(**operation: Any) -> Query:
    [(name, operands)] = operation.items()
    return Query({"$expr": {f"${name}": operands}})


SEVENTH = query(eq=[field("inputs.customer_id"), literal("customer 7")])


def assert_served_by(index: UserIndex, plan: Plan) -> None:
    assert plan.indexes == {index.name}
    assert "COLLSCAN" not in plan.stages
    assert plan.keys_examined <= plan.returned + 4
    assert plan.documents_examined == plan.returned > 0


async def test_equality_is_read_from_the_index_in_time_order(orders: CallsStore) -> None:
    plan = await orders.explain(PROJECT, query=SEVENTH, sort_by=[SortBy("started_at")])

    assert_served_by(CUSTOMER, plan)
    assert plan.returned == 10
    assert not plan.sorts_in_memory


async def test_list_values_are_merged_in_time_order(orders: CallsStore) -> None:
    condition = query(
        **{"in": [field("inputs.customer_id"), [literal("customer 7"), literal("customer 8"), literal(9)]]}
    )

    plan = await orders.explain(PROJECT, query=condition)

    assert_served_by(CUSTOMER, plan)
    assert plan.returned == 20
    assert not plan.sorts_in_memory


async def test_range_is_read_from_the_index(orders: CallsStore) -> None:
    plan = await orders.explain(PROJECT, query=query(gte=[field("inputs.order.amount"), literal(990)]))

    assert_served_by(AMOUNT, plan)
    assert plan.returned == 8  # 992 and 996 are texts


async def test_comparison_with_conversion_reads_only_the_range_and_texts(orders: CallsStore) -> None:
    condition = query(gte=[field("inputs.order.amount", "double"), literal(990)])

    plan = await orders.explain(PROJECT, query=condition)

    assert plan.indexes == {AMOUNT.name}
    assert plan.returned == 10
    assert plan.keys_examined == 8 + CALLS // 4


async def test_filter_and_query_use_one_index(orders: CallsStore) -> None:
    plan = await orders.explain(PROJECT, CallsFilter(op_names=["answer"], trace_roots_only=True), query=SEVENTH)

    assert_served_by(CUSTOMER, plan)


async def test_project_index_contains_and_serves_no_other_project(orders: CallsStore, database: Database) -> None:
    # given
    other = "acme/other"
    await orders.write([start(inputs={"customer_id": "customer 7"}, project_id=other)])
    # when
    plan = await orders.explain(other, query=SEVENTH)
    # then
    held = database.calls.aggregate([{"$match": {"project_id": PROJECT}}, {"$count": "n"}], hint=CUSTOMER.name)
    assert await held.to_list(1) == [{"n": CALLS}]
    assert plan.returned == 1
    assert CUSTOMER.name not in plan.indexes


async def test_global_index_serves_each_project(orders: CallsStore, indexes: UserIndexes) -> None:
    # given
    everywhere = UserIndex.parse_field(None, "attributes.env")
    for project_id in (PROJECT, "acme/other"):
        await orders.write(
            [
                start(2 * CALLS + number, project_id=project_id, attributes={"env": "live" if number < 3 else "test"})
                for number in range(300)
            ]
        )
    # when
    added = await indexes.add(everywhere)
    plans = [
        await orders.explain(project_id, query=query(eq=[field("attributes.env"), literal("live")]))
        for project_id in (PROJECT, "acme/other")
    ]
    # then
    assert added
    for plan in plans:
        assert_served_by(everywhere, plan)
        assert plan.returned == 3


async def test_paths_through_lists_are_indexed_but_not_served(orders: CallsStore) -> None:
    odd = [{"amount": 7}], {"amount": [7]}, {"amount": {"7": 7}}
    await orders.write([start(CALLS + place, inputs={"order": order}) for place, order in enumerate(odd)])

    plan = await orders.explain(PROJECT, query=query(eq=[field("inputs.order.amount"), literal(7)]))

    assert plan.indexes == {AMOUNT.name}
    assert (plan.returned, plan.documents_examined) == (1, 3)
    assert not plan.sorts_in_memory


async def test_repeated_add_builds_once_and_reports_it(indexes: UserIndexes) -> None:
    everywhere = UserIndex.parse_field(None, CUSTOMER.field)

    assert [await indexes.add(CUSTOMER), await indexes.add(CUSTOMER)] == [True, False]
    assert [await indexes.add(everywhere), await indexes.add(UserIndex.parse_field("a/b", CUSTOMER.field))] == [
        True,
        False,
    ]
    assert list(await indexes.sizes()) == [everywhere, CUSTOMER]


async def test_dropped_index_is_gone_and_others_remain(indexes: UserIndexes, database: Database) -> None:
    there = set(await database.calls.index_information())
    await indexes.add(CUSTOMER)
    await indexes.add(AMOUNT)

    await indexes.drop(CUSTOMER)

    assert set(await database.calls.index_information()) == {*there, AMOUNT.name}
    with pytest.raises(BadInputError, match=r"no index on inputs\.customer_id in acme/chat; .* list"):
        await indexes.drop(CUSTOMER)


@pytest.mark.usefixtures("orders")
async def test_index_sizes_equal_those_on_disk(indexes: UserIndexes) -> None:
    sizes = await indexes.sizes()

    assert list(sizes) == [CUSTOMER, AMOUNT]
    assert all(4096 <= size < 1 << 20 for size in sizes.values())


async def test_index_sizes_are_reported_while_writes_are_blocked(indexes: UserIndexes, database: Database) -> None:
    await indexes.add(CUSTOMER)
    database.request_budget = RequestBudget(FREE_BYTES)

    async with database.request_budget.writes.slot():
        with pytest.raises(UnavailableError):
            await indexes.add(AMOUNT)
        assert list(await indexes.sizes()) == [CUSTOMER]


async def test_empty_database_has_no_user_indexes_and_accepts_them(indexes: UserIndexes, database: Database) -> None:
    await database.calls.drop()

    assert await indexes.sizes() == {}
    assert await indexes.add(CUSTOMER)
    assert list(await indexes.sizes()) == [CUSTOMER]


async def test_user_index_count_has_a_clear_limit(indexes: UserIndexes, database: Database) -> None:
    # given
    room = MAX_INDEXES - len(await database.calls.index_information())
    await database.calls.create_indexes([IndexModel([(f"x{number}", ASCENDING)]) for number in range(room)])
    # when, then
    with pytest.raises(ConflictError, match=f"the limit is {MAX_INDEXES}; drop one"):
        await indexes.add(CUSTOMER)
    await database.calls.drop_index("x0_1")
    assert await indexes.add(CUSTOMER)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("inputs.customer_id", "inputs.customer_id"),
        ("output.a b.ü", "output.a b.ü"),
        (r"attributes.http\.method", "attributes.http%2Emethod"),
        (r"summary.back\\slash", r"summary.back\slash"),
        ("inputs.$**", "inputs.%24**"),
        ("inputs.50%.$a$", "inputs.50%25.%24a$"),
        ("inputs.-1.٣", "inputs.-1.٣"),
    ],
)
async def test_any_path_of_keys_can_be_indexed_and_is_listed_as_written(
    name: str, path: str, indexes: UserIndexes, database: Database
) -> None:
    index = UserIndex.parse_field("acme/chat", name)

    assert await indexes.add(index)
    assert (index.path, index.field) == (path, name)
    assert list(await indexes.sizes()) == [index]
    [keys] = [built["key"] for name, built in (await database.calls.index_information()).items() if name == index.name]
    assert keys == [("project_id", 1), ("visible", 1), (path, 1), ("started_at", 1), ("id", 1)]


@pytest.mark.parametrize(
    ("project_id", "name", "expected"),
    [
        (PROJECT, "op_name", "op_name needs no index of its own; name a path into JSON"),
        (PROJECT, "summary.weave.status", "needs no index of its own"),
        (PROJECT, "input_refs.x", "needs no index of its own"),
        (PROJECT, "inputs", "inputs is a whole payload; name a path inside"),
        (PROJECT, "inputs.messages.0.content", "has the step 0, which may be a key or a list index"),
        (PROJECT, "inputs..a", "has an empty key"),
        (PROJECT, "inputs.", "has an empty key|is a whole payload"),
        (PROJECT, "imputs.a", "there is no field 'imputs.a'"),
        (PROJECT, "inputs.\udcff", "is not valid Unicode text"),
        ("chat", "inputs.a", "'chat' is not a project id"),
        ("*", "inputs.a", "is not a project id"),
        ("a\udcff/b", "inputs.a", "is not valid Unicode text"),
    ],
)
def test_unindexable_path_is_refused(project_id: str, name: str, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected) as refused:
        UserIndex.parse_field(project_id, name)

    assert refused.value.argument in ("path", "project_id")
