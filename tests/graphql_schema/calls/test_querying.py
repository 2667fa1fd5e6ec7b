"""Queries of calls: each operation of the Query DSL, in the typed form and in the raw one."""

import pytest

from stores.calls import CallsStore
from tests.graphql_schema.conftest import Run
from tests.graphql_schema.query_trees import Tree, eq, field, lit, typed
from tests.stores.calls.builders import NOON, SECOND, call_id, end, start, trace_id

CALLS = """
    query ($query: QueryInput, $sortBy: [SortBy!], $first: Int, $after: String, $last: Int, $before: String) {
        calls(projectId: "acme/chat", query: $query, sortBy: $sortBy,
              first: $first, after: $after, last: $last, before: $before) {
            totalCount
            nodes { id }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }
"""


@pytest.fixture
async def stocked(calls: CallsStore) -> CallsStore:
    """Store five calls: a success, a failure, a running one, one with a null and a list, and a slow child."""
    await calls.write(
        [
            start(1, inputs={"question": "A refund, please", "n": 5, "a.b": 1, "0": "zero"}, wb_run_step=3),
            end(1, output={"text": "no"}),
            start(2, op_name="answer.2", inputs={"question": "REFUND", "n": "5", "flag": True}),
            end(2, exception="ValueError: no such order", output="x"),
            start(3, display_name="third", inputs={"question": 7, "n": 5.5, "flag": "true"}),
            start(4, inputs={"n": None, "messages": [{"content": "hi"}, {"content": "ho"}]}, attributes={"v": 1e21}),
            end(4, output=[1, "refund"]),
            start(5, op_name="llm", parent_id=call_id(1), trace_id=trace_id(1), inputs={"flag": False, "n": "many"}),
            end(5, ended_at=NOON + 8 * SECOND, summary={"usage": {"m": {"total_tokens": 12}}}),
        ]
    )
    return calls


async def found(run: Run, query: Tree, **arguments: object) -> list[int]:
    """Return the numbers of the calls that a query finds."""
    answer = await run(CALLS, query=query, **arguments)
    assert answer.errors == []
    listing = answer.data["calls"]
    numbers = [int(node["id"][-12:], 16) for node in listing["nodes"]]
    assert arguments or listing["totalCount"] == len(numbers)
    return numbers


def both(operator: str, *operands: Tree) -> Tree:
    """Return an operation on several operands."""
    return {f"${operator}": list(operands)}


def as_(to: str, name: str) -> Tree:
    """Return a field with a conversion."""
    return {"$convert": {"input": field(name), "to": to}}


def holds(operand: Tree) -> Tree:
    """Return the operation that an operand is true."""
    return {"$and": [operand]}


def contains(name: str, text: str, **options: bool) -> Tree:
    """Return the operation that the text of a field contains another text."""
    return {"$contains": {"input": field(name), "substr": lit(text), **options}}


def one_of(operand: Tree, *values: object) -> Tree:
    """Return the operation that an operand equals one of some literals."""
    return {"$in": [operand, [lit(value) for value in values]]}


N_IS_5, N_IS_TEXT = eq("inputs.n", 5), eq("inputs.n", "5")

OPERATIONS = {
    "equal": (N_IS_5, [1]),
    "and": (both("and", eq("status", "success"), eq("op_name", "answer")), [1, 4]),
    "and of one": (both("and", N_IS_5), [1]),
    "or": (both("or", N_IS_5, N_IS_TEXT, eq("op_name", "llm")), [1, 2, 5]),
    "not": (both("not", N_IS_5), [2, 3, 4, 5]),
    "nested": (both("and", both("or", N_IS_5, N_IS_TEXT), both("not", eq("status", "error"))), [1]),
    "greater": (both("gt", field("inputs.n"), lit(5)), [3]),
    "greater or equal": (both("gte", field("inputs.n"), lit(5)), [1, 3]),
    "less": (both("lt", field("inputs.n"), lit(5.5)), [1]),
    "less or equal": (both("lte", field("inputs.n"), lit(5.5)), [1, 3]),
    "greater, of strings": (both("gt", field("inputs.n"), lit("5")), [5]),
    "less, the literal first": (both("lt", lit(5), field("inputs.n")), [3]),
    "two fields": (both("eq", field("trace_name"), field("display_name")), [3]),
    "in": (one_of(field("op_name"), "llm", "answer.2", "none"), [2, 5]),
    "in, of several kinds": (one_of(field("inputs.n"), 5, "5", None), [1, 2, 4]),
    "in nothing": (one_of(field("op_name")), []),
    "in, of fields": ({"$in": [lit("third"), [field("display_name"), field("trace_name")]]}, [3]),
    "contains": (contains("inputs.question", "refund"), [1]),
    "contains, its case as it is": (contains("inputs.question", "refund", case_insensitive=False), [1]),
    "contains, its case folded": (contains("inputs.question", "refund", case_insensitive=True), [1, 2]),
    "contains, in the text of a number": (contains("inputs.n", "5"), [1, 2, 3]),
    "contains, in a payload as a whole": (contains("output", "refund"), [4]),
    "contains signs that mean something elsewhere": (contains("exception", ".*"), []),
    "convert to double": (both("gte", as_("double", "inputs.n"), lit(5)), [1, 2, 3]),
    "convert to int": (both("gte", as_("int", "inputs.n"), lit(5)), [1, 2]),
    "convert to string": (one_of(as_("string", "inputs.n"), "5", "5.5"), [1, 2, 3]),
    "convert to string, of a payload": (both("eq", as_("string", "output"), lit('[1,"refund"]')), [4]),
    "convert to bool": (both("eq", as_("bool", "inputs.flag"), lit(value=True)), [2, 3]),
    "convert to exists": (holds(as_("exists", "inputs.question")), [1, 2, 3]),
    "convert to exists, as an operand": (both("eq", as_("exists", "ended_at"), lit(value=False)), [3]),
    "an operation as an operand": (both("eq", N_IS_5, eq("status", "success")), [1, 2, 3]),
}
LITERALS = {
    "a string": (eq("inputs.question", "REFUND"), [2]),
    "a string that looks like a path": (eq("inputs.question", "$inputs.question"), []),
    "an integer": (eq("inputs.question", 7), [3]),
    "a float with no fraction": (eq("inputs.question", 7.0), [3]),
    "a float": (eq("inputs.n", 5.5), [3]),
    "a large number": (eq("attributes.v", 10**21), [4]),
    "true": (eq("inputs.flag", value=True), [2]),
    "false": (eq("inputs.flag", value=False), [5]),
    "null, which missing equals": (eq("inputs.n", None), [4]),
    "null, of a column": (eq("exception", None), [1, 3, 4, 5]),
}
FIELDS = {
    "snake_case": (both("gt", field("latency_ms"), lit(1000)), [5]),
    "camelCase": (both("gt", field("latencyMs"), lit(1000)), [5]),
    "what summary says": (both("gt", field("summary.weave.latency_ms"), lit(1000)), [5]),
    "what summary says, in camelCase": (both("gt", field("summary.weave.latencyMs"), lit(1000)), [5]),
    "a number": (eq("wbRunStep", 3), [1]),
    "a parent": (eq("parent_id", call_id(1)), [5]),
    "a time beside ISO 8601": (both("gte", field("startedAt"), lit("2026-01-31T12:00:04Z")), [4, 5]),
    "a time in another zone": (both("gte", field("started_at"), lit("2026-01-31T13:00:04+01:00")), [4, 5]),
    "a time beside unix seconds": (both("lt", field("started_at"), lit(NOON / SECOND + 1.5)), [1]),
    "a path": (eq("summary.usage.m.total_tokens", 12), [5]),
    "an index": (eq("inputs.messages.1.content", "ho"), [4]),
    "no index, where one is needed": (eq("inputs.messages.content", "ho"), []),
    "digits that are a key": (eq("inputs.0", "zero"), [1]),
    "an index into a payload": (eq("output.1", "refund"), [4]),
    "a dot inside a key": (eq(r"inputs.a\.b", 1), [1]),
    "no such key": (eq("inputs.a.b", 1), []),
}


def cases(table: dict[str, tuple[Tree, list[int]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("tree", "numbers"), [pytest.param(*case, id=name) for name, case in table.items()])


async def check_both_forms(run: Run, tree: Tree, numbers: list[int]) -> None:
    assert await found(run, {"json": {"$expr": tree}}) == numbers
    assert await found(run, {"expr": typed(tree)}) == numbers


@pytest.mark.usefixtures("stocked")
@cases(OPERATIONS)
async def test_operation_means_the_same_in_both_forms(run: Run, tree: Tree, numbers: list[int]) -> None:
    await check_both_forms(run, tree, numbers)


@pytest.mark.usefixtures("stocked")
@cases(LITERALS)
async def test_literal_means_the_same_in_both_forms(run: Run, tree: Tree, numbers: list[int]) -> None:
    await check_both_forms(run, tree, numbers)


@pytest.mark.usefixtures("stocked")
@cases(FIELDS)
async def test_field_is_found_by_each_of_its_names(run: Run, tree: Tree, numbers: list[int]) -> None:
    await check_both_forms(run, tree, numbers)


@pytest.mark.usefixtures("stocked")
async def test_query_can_be_written_inline(run: Run) -> None:
    answer = await run(
        r"""{
            calls(projectId: "acme/chat", query: {expr: {and: [
                {gte: [{convert: {input: {getField: "inputs.n"}, to: DOUBLE}}, {literal: 5}]}
                {not: [{eq: [{getField: "displayName"}, {nullLiteral: true}]}]}
                {in: {input: {getField: "inputs.flag"}, values: [{literal: "true"}, {literal: 1.5}]}}
                {contains: {input: {getField: "inputs"}, substr: {literal: "QUESTION"}, caseInsensitive: true}}
            ]}}) { nodes { id } }
            escaped: calls(projectId: "acme/chat", query: {expr: {eq: [{getField: "inputs.a\\.b"}, {literal: 1}]}}) {
                nodes { id }
            }
        }"""
    )

    assert answer.errors == []
    assert answer.data["calls"]["nodes"] == [{"id": call_id(3)}]
    assert answer.data["escaped"]["nodes"] == [{"id": call_id(1)}]


@pytest.mark.usefixtures("stocked")
async def test_stats_count_matching_calls_up_to_the_limit(run: Run) -> None:
    answer = await run(
        """
        query ($query: QueryInput!) {
            all: callsStats(projectId: "acme/chat", query: $query) { count totalStorageSizeBytes }
            two: callsStats(projectId: "acme/chat", query: $query, limit: 2) { count }
            other: callsStats(projectId: "acme/other", query: $query) { count }
            calls(projectId: "acme/chat", query: $query) { nodes { parentId totalStorageSizeBytes } }
        }
        """,
        query={"expr": typed(eq("exception", None))},
    )

    roots = [node for node in answer.data["calls"]["nodes"] if node["parentId"] is None]
    assert len(roots) == 3
    assert answer.data["all"] == {
        "count": 4,
        "totalStorageSizeBytes": sum(node["totalStorageSizeBytes"] for node in roots),
    }
    assert answer.data["two"] == {"count": 2}
    assert answer.data["other"] == {"count": 0}


@pytest.mark.usefixtures("stocked")
async def test_filter_and_query_are_combined_with_and(run: Run) -> None:
    answer = await run(
        """
        query ($query: QueryInput!) {
            calls(projectId: "acme/chat", filter: {traceRootsOnly: true}, query: $query) { totalCount nodes { id } }
            callsStats(projectId: "acme/chat", filter: {opNames: ["llm"]}, query: $query) { count }
        }
        """,
        query={"expr": typed(holds(as_("exists", "inputs.n")))},
    )

    assert answer.data["calls"] == {"totalCount": 3, "nodes": [{"id": call_id(number)} for number in (1, 2, 3)]}
    assert answer.data["callsStats"] == {"count": 1}


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("field_name", "direction", "order"),
    [
        ("inputs.n", "ASC", [1, 3, 2, 5, 4]),
        ("inputs.n", "DESC", [3, 1, 5, 2, 4]),
        ("inputs.question", "ASC", [3, 1, 2, 4, 5]),
        ("inputs.flag", "ASC", [3, 2, 5, 1, 4]),
        ("output", "DESC", [2, 4, 1, 5, 3]),
        ("inputs.messages.0.content", "DESC", [4, 5, 3, 2, 1]),
        ("summary.weave.latencyMs", "DESC", [5, 4, 2, 1, 3]),
        (r"inputs.a\.b", "ASC", [1, 2, 3, 4, 5]),
    ],
)
async def test_sort_by_a_path_is_paged_in_both_directions(
    run: Run, field_name: str, direction: str, order: list[int]
) -> None:
    sort_by = [{"field": field_name, "direction": direction}]

    forward = await walk(run, sort_by, "first", "after", "endCursor", "hasNextPage")
    backward = await walk(run, sort_by, "last", "before", "startCursor", "hasPreviousPage")

    assert [number for page in forward for number in page] == order
    assert [number for page in reversed(backward) for number in page] == order
    assert [len(page) for page in forward] == [len(page) for page in backward] == [2, 2, 1]


async def walk(run: Run, sort_by: object, size: str, cursor: str, at_end: str, has_more: str) -> list[list[int]]:
    """Return the pages of two calls, read by cursor, as the numbers of their calls."""
    pages, place = [], None
    while True:
        answer = await run(CALLS, sortBy=sort_by, **{size: 2, cursor: place})
        listing = answer.data["calls"]
        assert listing["totalCount"] == 5
        pages.append([int(node["id"][-12:], 16) for node in listing["nodes"]])
        if not listing["pageInfo"][has_more]:
            return pages
        place = listing["pageInfo"][at_end]


async def test_plan_names_the_index_and_the_pipeline(run: Run, calls: CallsStore) -> None:
    ref = "weave:///acme/chat/op/f:v1"
    await calls.write([start(number, op_name=ref if number % 10 == 0 else "g") for number in range(1, 101)])
    document = """
        query ($query: QueryInput!, $sortBy: [SortBy!]) {
            explain(projectId: "acme/chat", query: $query, sortBy: $sortBy) {
                indexes stages sortsInMemory keysExamined documentsExamined returned milliseconds pipeline
            }
        }
    """

    by_index = (await run(document, query={"expr": typed(eq("op_name", ref))})).data["explain"]
    sorted_ = await run(
        document,
        query={"expr": typed(eq("inputs.a", 1))},
        sortBy=[{"field": "inputs.a", "direction": "ASC"}],
    )

    assert by_index["indexes"] == ["op_name_started_at_id_compressed"]
    assert by_index["sortsInMemory"] is False
    assert {"IXSCAN", "PROJECTION_COVERED"} <= set(by_index["stages"])
    assert not {"COLLSCAN", "SORT", "$sort"} & set(by_index["stages"])
    assert [by_index[name] for name in ("keysExamined", "documentsExamined", "returned")] == [10, 0, 10]
    assert by_index["milliseconds"] >= 0
    assert by_index["pipeline"] == [
        {"$match": {"project_id": "acme/chat", "visible": True, "$and": [{"$and": [{"op_name": {"$eq": ref}}]}]}},
        {"$sort": {"started_at": 1, "id": 1}},
        {"$limit": 101},
        {"$project": {"_id": 0, "id": 1, "started_at": 1}},
    ]
    in_memory = sorted_.data["explain"]
    assert in_memory["sortsInMemory"] is True
    assert [in_memory["documentsExamined"], in_memory["returned"]] == [100, 0]
    assert [next(iter(stage)) for stage in in_memory["pipeline"]] == ["$match", "$set", "$sort", "$limit", "$project"]
