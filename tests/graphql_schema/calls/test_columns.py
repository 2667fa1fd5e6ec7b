"""Each column of calls: read alone and together with all others, queried, sorted, and queried in events."""

from functools import cache
from typing import Any

import pytest
from strawberry.utils.str_converters import to_camel_case

from graphql_schema.calls.types import CallSchema
from stores.calls import CallsStore
from stores.calls.events import EventFilter
from stores.calls.fields import CALL_COLUMNS, Column, Type
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.query import Query
from stores.query.evaluator import DocumentValues
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.calls.cases import COLUMN_CASES, MODEL, PRICE, two_calls

COLUMNS = [column for column in CALL_COLUMNS if column.description]
SORTABLE = [column for column in COLUMNS if column.is_queryable and column.type is not Type.JSON]
QUERYABLE = [column for column in SORTABLE if column.type is not Type.TEXTS]
NODES = "query ($project: ID!, $query: QueryInput, $sortBy: [SortBy!]) { calls(projectId: $project, query: $query, "
NODES += "sortBy: $sortBy) { nodes { %s } } }"


@pytest.fixture
async def _two_calls(calls: CallsStore, database: Database) -> None:
    await CostsStore(database).create(PROJECT, [NewCost(MODEL, PRICE, PRICE, effective_date=0)])
    await calls.write(two_calls())


def name_of(column: Column) -> str:
    return column.name


@cache
def case_of(column: Column) -> tuple[Any, Any]:
    """Return the values of a column in the two calls."""
    assert column.name in COLUMN_CASES, (
        f"add the values of {column.name} to COLUMN_CASES in tests/stores/calls/cases.py"
    )
    return COLUMN_CASES[column.name]


def equal_to(column: Column, value: object) -> dict[str, Any]:
    """Return the query that a column equals a value."""
    return {"$expr": {"$eq": [{"$getField": column.name}, {"$literal": value}]}}


async def nodes(run: Run, selection: str, **variables: Any) -> list[dict[str, Any]]:
    answer = await run(NODES % selection, project=PROJECT, **variables)
    found: list[dict[str, Any]] = answer.data["calls"]["nodes"]
    return found


def test_every_column_is_a_field_of_graphql_and_no_case_is_left_over() -> None:
    definition: Any = CallSchema
    names = {field.python_name for field in definition.__strawberry_definition__.fields}

    missing = {column.name for column in CALL_COLUMNS} - names
    assert not missing, f"give these columns a description in stores/calls/columns.toml: {missing}"
    assert COLUMN_CASES.keys() == {column.name for column in COLUMNS}, "compare tests/stores/calls/cases.py"


@pytest.mark.usefixtures("_two_calls")
@pytest.mark.parametrize("column", COLUMNS, ids=name_of)
async def test_column_alone_has_its_value(run: Run, column: Column) -> None:
    name = to_camel_case(column.name)

    values = [node[name] for node in await nodes(run, name)]

    assert values == list(case_of(column)), (
        f"compare the row of {column.name} in stores/calls/columns.toml, which names the paths that it reads, with its "
        "case in tests/stores/calls/cases.py; if the value is computed, see _VALUES in stores/calls/fields.py"
    )


@pytest.mark.usefixtures("_two_calls")
async def test_all_columns_together_have_the_values_that_each_has_alone(run: Run) -> None:
    names = {column.name: to_camel_case(column.name) for column in COLUMNS}

    together = await nodes(run, " ".join(names.values()))

    assert together == [
        {names[column.name]: case_of(column)[number] for column in COLUMNS} for number in range(len(together))
    ]


@pytest.mark.usefixtures("_two_calls")
@pytest.mark.parametrize("column", QUERYABLE, ids=name_of)
async def test_query_of_a_column_finds_the_same_calls_in_lists_and_events(
    run: Run, database: Database, column: Column
) -> None:
    documents = await database.calls.find({}).to_list(None)

    for value in filter(None, case_of(column)):
        expected = [call_id(number) for number, each in enumerate(case_of(column), 1) if each == value]
        found = await nodes(run, "id", query={"json": equal_to(column, value)})
        event_filter = EventFilter(PROJECT, None, Query(equal_to(column, value)))
        passing = [each["id"] for each in documents if event_filter.matches(each, DocumentValues(each))]

        assert [node["id"] for node in found] == expected, (
            f"see path and type of {column.name} in stores/calls/columns.toml"
        )
        assert event_filter.needs_lookup or sorted(passing) == expected


@pytest.mark.usefixtures("_two_calls")
@pytest.mark.parametrize("column", SORTABLE, ids=name_of)
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_sort_by_a_column_puts_nulls_last(run: Run, column: Column, direction: str) -> None:
    name, values = to_camel_case(column.name), case_of(column)
    present = sorted((value for value in values if value is not None), reverse=direction == "DESC")

    sorted_nodes = await nodes(run, name, sortBy=[{"field": column.name, "direction": direction}])

    assert [node[name] for node in sorted_nodes] == present + [None] * (len(values) - len(present))


@pytest.mark.usefixtures("_two_calls")
@pytest.mark.parametrize("name", [column.name for column in SORTABLE if column.type is Type.TEXTS])
@pytest.mark.parametrize(("number", "found"), [(0, [call_id(1)]), (None, [])])
async def test_list_of_texts_is_searched_and_not_compared(
    run: Run, database: Database, name: str, number: int | None, found: list[str]
) -> None:
    text = "no such text" if number is None else COLUMN_CASES[name][0][number]
    contains = {"$contains": {"input": {"$getField": name}, "substr": {"$literal": text}}}
    documents = await database.calls.find({}).to_list(None)
    event_filter = EventFilter(PROJECT, None, Query({"$expr": contains}))

    assert [node["id"] for node in await nodes(run, "id", query={"json": {"$expr": contains}})] == found
    assert [each["id"] for each in documents if event_filter.matches(each, DocumentValues(each))] == found
    compared = {"$expr": {"$eq": [{"$getField": name}, {"$literal": text}]}}
    refused = await run(NODES % "id", project=PROJECT, query={"json": compared})
    assert "with contains" in refused.errors[0]["message"]
