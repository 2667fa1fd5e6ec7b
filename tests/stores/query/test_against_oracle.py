"""Tests that random queries and sorts over random calls give the oracle's results on a real server."""

import json
from collections.abc import Sequence

import pytest

from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS
from stores.calls.list_query import compile_calls_query
from stores.database import Collection, Database, Document
from stores.paging import PageRequest
from stores.query import Query, in_python
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.match_compiler import Match, compile_match
from stores.query.parser import Operand, parse_query
from stores.query.sort import SortBy, compile_sort
from stores.query.value_expressions import condition_expression
from tests.chance import SEED, cases
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.query.generator import Generator, Tree
from tests.stores.query.oracle import PAYLOADS, Row, holds, in_order

CALLS = 60
QUERIES = cases(540)
SORTS = cases(30)
STOCKS = 3


ONCE_WRONG = [
    {"$gte": [{"$getField": "inputs.01"}, {"$literal": ""}]},
    {"$gte": [{"$convert": {"input": {"$getField": "input_refs.00"}, "to": "string"}}, {"$literal": "weave"}]},
    {"$in": [{"$getField": "input_refs.01"}, [{"$literal": "weave:///acme/chat/object/y:v0"}]]},
    {"$eq": [{"$getField": "inputs." + "9" * 900}, {"$literal": None}]},
]


def row_of(document: Document) -> Row:
    """Return a stored call as the oracle reads it: its columns, and its JSON decoded from the exact texts."""
    texts = {name: json.loads(text) for name, text in document["json"].items()}
    return {name: value for name, value in document.items() if name not in PAYLOADS} | texts


async def documents_of(calls: CallsStore, database: Database, generator: Generator) -> list[Document]:
    """Write random calls and return their stored documents."""
    await calls.write(generator.calls(CALLS))
    # In a fixed order, since the queries of the generator follow it; a router returns the calls of two shards in any.
    return await database.calls.find({}).sort("id", 1).to_list(None)


async def rows_of(calls: CallsStore, database: Database, generator: Generator) -> list[Row]:
    """Write random calls and return them as rows."""
    return [row_of(document) for document in await documents_of(calls, database, generator)]


def evaluated(operation: Operand, documents: Sequence[Document]) -> set[str]:
    """Return the ids of the documents that match in Python, which needs no mirrors."""
    holds_for = compile_test(operation)
    without_payloads = [
        {name: value for name, value in document.items() if name not in PAYLOADS} for document in documents
    ]
    return {document["id"] for document in without_payloads if holds_for(DocumentValues(document))}


async def found(collection: Collection, match: Match) -> set[str]:
    """Return the ids of the calls that match in MongoDB."""
    return {row["id"] for row in await collection.find(match, {"id": 1}).to_list(None)}


def disagreement(tree: Tree, match: Match, rows: Sequence[Row], ids: set[str]) -> str:
    """Return a message about a query for which the server and the oracle differ."""
    row = next(row for row in rows if row["id"] in ids)
    shown = {name: value for name, value in row.items() if name != "json"}
    return f"\nquery    {json.dumps(tree)}\ndocument {shown}\nmatch    {match}"


async def test_server_and_evaluator_find_the_matching_calls(
    calls: CallsStore, database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_python, "_SIMPLE_LIMITS", (-1, -1))
    generator = Generator(SEED)
    documents = await documents_of(calls, database, generator)
    rows = [row_of(document) for document in documents]
    matched, tried, decided = 0, 0, 0

    for _ in range(QUERIES):
        tree = generator.query(rows)
        expected = {row["id"] for row in rows if holds(parse_query(tree, CALL_FIELDS), row)}
        operation = compile_calls_query(Query(tree), CALL_FIELDS, PROJECT)

        async with database.snapshot_session([PROJECT]) as session:
            by_python = await in_python.python_assisted_operation(
                database.calls, {}, operation, lambda _get: True, session
            )
        decided += by_python is not operation

        for match in (compile_match(operation), {"$expr": condition_expression(operation)}, compile_match(by_python)):
            ids = await found(database.calls, match)
            assert ids == expected, disagreement(tree, match, rows, ids ^ expected)
        ids = evaluated(operation, documents)
        assert ids == expected, disagreement(tree, {}, rows, ids ^ expected)
        matched += len(expected)
        tried += len(rows)

    with capsys.disabled():
        print(f"\n{tried:,} cases of a call and a query agree, {matched:,} of them matches")  # noqa: T201
    assert tried == QUERIES * CALLS
    assert matched > tried / 10
    assert decided > QUERIES / 20


@pytest.mark.parametrize("tree", ONCE_WRONG, ids=str)
async def test_queries_that_once_failed_give_correct_results(calls: CallsStore, database: Database, tree: Tree) -> None:
    documents = await documents_of(calls, database, Generator(SEED))
    operation = parse_query({"$expr": tree}, CALL_FIELDS)
    expected = {row["id"] for row in map(row_of, documents) if holds(operation, row)}

    for match in (compile_match(operation), {"$expr": condition_expression(operation)}):
        assert await found(database.calls, match) == expected
    assert evaluated(operation, documents) == expected


EQUAL: tuple[tuple[object, object, bool], ...] = (
    ([], [], True),
    ({}, {}, True),
    ([], {}, False),
    ([1, [2.0, None]], [1.0, [2, None]], True),
    ([1], [1, 2], False),
    ([1], [True], False),
    ([0], [False], False),
    ([5], ["5"], False),
    ([None], [], False),
    ({"a": {"b": [1]}}, {"a": {"b": [1]}}, True),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
    ({"a": None}, {}, False),
    ({"a.b": 1, "$c": 2}, {"a.b": 1, "$c": 2}, True),
    ([2**70], [float(2**70)], True),
    ([[]] * 3, [[], [], []], True),
)
"""Pairs of lists or objects, each with True if fields with these values are equal."""


async def test_fields_with_equal_lists_or_objects_are_equal(calls: CallsStore, database: Database) -> None:
    await calls.write([start(number, inputs={"a": a, "b": b}) for number, (a, b, _) in enumerate(EQUAL)])
    documents = await database.calls.find({}).to_list(None)
    expected = {call_id(number) for number, (_, _, are_equal) in enumerate(EQUAL) if are_equal}
    a, b = ({"$getField": f"inputs.{name}"} for name in "ab")

    for tree in ({"$eq": [a, b]}, {"$in": [a, [{"$literal": 1}, b]]}, {"$in": [b, [a]]}):
        operation = parse_query({"$expr": tree}, CALL_FIELDS)
        assert {row["id"] for row in map(row_of, documents) if holds(operation, row)} == expected
        for match in (compile_match(operation), {"$expr": condition_expression(operation)}):
            assert await found(database.calls, match) == expected
        assert evaluated(operation, documents) == expected


async def test_pages_and_counts_match_the_oracle(calls: CallsStore, database: Database) -> None:
    generator = Generator(SEED + 1)
    rows = await rows_of(calls, database, generator)

    for _ in range(cases(30)):
        tree, sort_by = generator.query(rows), generator.sort(rows)
        operation = parse_query(tree, CALL_FIELDS)
        expected = [row["id"] for row in in_order(rows, sort_by) if holds(operation, row)]

        page = await calls.page(PROJECT, PageRequest(CALLS), {"id"}, sort_by=sort_by, query=Query(tree))
        count = await calls.count(PROJECT, query=Query(tree))

        assert [row["id"] for row in page.rows] == expected, f"{sort_by} {tree}"
        assert count == len(expected)


@pytest.mark.parametrize("stock", range(STOCKS))
async def test_paging_returns_every_row_once_in_the_oracles_order(
    calls: CallsStore, database: Database, stock: int
) -> None:
    generator = Generator(SEED + stock)
    rows = await rows_of(calls, database, generator)

    for _ in range(SORTS // STOCKS):
        sort_by, size = generator.sort(rows), generator.dice.randint(1, 7)
        expected = [row["id"] for row in in_order(rows, sort_by)]

        for backward in (False, True):
            ids = await walk(calls, size, sort_by, backward=backward)
            assert ids == expected, f"{sort_by} {compile_sort(sort_by, CALL_FIELDS)}"


async def walk(calls: CallsStore, size: int, sort_by: Sequence[SortBy], *, backward: bool) -> list[str]:
    """Return the ids of a whole list, read page by page, in list order."""
    ids: list[str] = []
    cursor, more = None, True
    while more:
        page = await calls.page(PROJECT, PageRequest(size, cursor, backward), {"id"}, sort_by=sort_by)
        here = [row["id"] for row in page.rows]
        assert len(here) <= size
        ids = here + ids if backward else ids + here
        more = page.has_previous if backward else page.has_next
        cursor = page.cursor(page.rows[0 if backward else -1])
    return ids
