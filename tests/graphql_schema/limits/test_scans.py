"""Conditions and sorts that no index supports: each costs a scan, in every list."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql.utilities import coerce_input_literal

from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.limits import cost as cost_module
from graphql_schema.limits.cost import CostFormula
from graphql_schema.schema import build_schema
from stores.database import Database
from stores.query import Query
from stores.query.index_use import IndexedFields
from tests.commands import Commands
from tests.graphql_schema.limits.costing import Pricing, about, prepared

ASKED, COUNT, SCAN = 10, 1_000, 4_000


def where(field: str) -> str:
    return f'query: {{ expr: {{ eq: [{{ getField: "{field}" }}, {{ literal: 1 }}] }} }}'


BOTH = (
    'query: { expr: { and: [{ gte: [{ getField: "started_at" }, { literal: 0 }] }, '
    '{ gte: [{ getField: "latency_ms" }, { literal: 0 }] }] } }'
)
TOTALS = 'totals: { expr: { gt: [{ getField: "%s" }, { literal: 1 }] } }'
JSON_PATH, COLUMN = where("inputs.a.b"), where("opName")


def listed(arguments: str) -> str:
    return f"{{ calls(%s, first: 1, {arguments}) {{ nodes {{ id }} }} }}"


def aliases(number: int, field: str) -> str:
    return about("{ " + " ".join(f"a{each}: {field}" for each in range(number)) + " }")


@pytest.mark.parametrize(
    ("document", "cost"),
    [
        (listed(JSON_PATH), ASKED + SCAN + 2),
        (listed(COLUMN), ASKED + 2),
        (listed("query: null, sortBy: [], filter: null"), ASKED + 2),
        (listed('query: { expr: { contains: { input: { getField: "op_name" }, substr: { literal: "x" } } } }'), 4_012),
        (listed('query: { expr: { eq: [{ getField: "thread_id" }, { nullLiteral: true }] } }'), ASKED + SCAN + 2),
        # Constants are read without coercion, with the same result: a single value for a list is a list of one, and
        # the members of a JSON value are no inputs.
        (listed('query: { expr: { and: { eq: [{ getField: "op_name" }, { literal: 1 }] } } }'), ASKED + 2),
        (listed('query: { expr: { in: { input: { getField: "op_name" }, values: { literal: 1 } } } }'), ASKED + 2),
        (listed("query: { json: { expr: { eq: [1, 2] } } }"), ASKED + SCAN + 2),
        (listed('sortBy: { field: "inputs.a", direction: DESC }'), ASKED + SCAN + 2),
        (listed('sortBy: [{ field: "started_at", direction: DESC }]'), ASKED + 2),
        (listed('filter: { traceIds: ["a"], wbUserIds: [] }'), ASKED + 2),
        (listed('filter: { wbUserIds: ["me"] }'), ASKED + SCAN + 2),
        (listed("filter: { minTimeToFirstTokenMs: 0 }"), ASKED + SCAN + 2),
        # One scan serves a condition and a sort.
        (listed(f'{JSON_PATH}, sortBy: [{{ field: "inputs.a", direction: ASC }}]'), ASKED + SCAN + 2),
        # A count of all matches is a separate scan, each time that the document selects it.
        (f"{{ calls(%s, {JSON_PATH}) {{ totalCount nodes {{ id }} }} }}", ASKED + COUNT + 2 * SCAN + 2 + 100),
        (f"{{ calls(%s, first: 0, {JSON_PATH}) {{ a: totalCount b: totalCount }} }}", ASKED + 2 * COUNT + 3 * SCAN + 3),
        (f"{{ calls(%s, first: 0, {COLUMN}) {{ totalCount }} }}", ASKED + COUNT + 2),
        (f"{{ callsStats(%s, {JSON_PATH}) {{ count }} }}", COUNT + SCAN + 1),
        (f"{{ explain(%s, {JSON_PATH}) {{ milliseconds }} }}", COUNT + SCAN + 1),
        # A field that reads all calls anyway costs no more.
        (f"{{ callsAggregate(%s, {JSON_PATH}) {{ numGroups }} }}", 8_000 + 1),
        (f'{{ search(%s, text: "a", first: 5, {JSON_PATH}) {{ nodes {{ score }} }} }}', 8_000 + 1 + 5),
        (f"{{ objs(%s, first: 1, {where('val.a')}) {{ nodes {{ digest }} }} }}", 4_012),
        (f"{{ ops(%s, first: 1, {where('is_latest')}) {{ nodes {{ digest }} }} }}", 12),
        ('{ objs(%s, first: 1, filter: { leafObjectClasses: ["Model"] }) { nodes { digest } } }', ASKED + SCAN + 2),
        (f"{{ feedback(%s, first: 1, {where('payload.a')}) {{ nodes {{ id }} }} }}", 4_012),
        (f"{{ feedbackStats(%s, {where('creator')}) {{ count }} }}", 5_001),
        ('{ costs(%s, first: 1, sortBy: [{ field: "llm_id", direction: ASC }]) { nodes { id } } }', ASKED + SCAN + 2),
        ('{ tableRows(%s, digest: "", first: 1, sortBy: { field: "a", direction: ASC }) { nodes { digest } } }', 4_012),
        (listed(BOTH), ASKED + SCAN + 2),
        (f"{{ callsStats(%s, {BOTH}) {{ count }} }}", COUNT + SCAN + 1),
        # A list of threads reads all turns of a project, once for the page and once for each count.
        ("{ threads(%s, first: 1) { nodes { turnCount } } }", ASKED + SCAN + 2),
        ("{ threads(%s, first: 1) { totalCount nodes { turnCount } } }", ASKED + COUNT + 2 * SCAN + 3),
        # An index finds traces by their start alone.
        ("{ traces(%s, first: 1, sortBy: []) { nodes { traceId } } }", ASKED + 2),
        ('{ traces(%s, first: 1, sortBy: { field: "startedAt", direction: ASC }) { nodes { traceId } } }', ASKED + 2),
        ('{ traces(%s, first: 1, sortBy: { field: "name", direction: ASC }) { nodes { traceId } } }', ASKED + SCAN + 2),
        (f"{{ traces(%s, first: 1, {JSON_PATH}) {{ nodes {{ traceId }} }} }}", ASKED + SCAN + 2),
        ("{ traces(%s, first: 1, anyCall: { filter: { callIds: [] } }) { nodes { traceId } } }", ASKED + SCAN + 2),
        (f"{{ traces(%s, first: 1, {TOTALS % 'num_calls'}) {{ nodes {{ traceId }} }} }}", ASKED + SCAN + 2),
        (f"{{ traces(%s, first: 1, {TOTALS % 'startedAt'}) {{ nodes {{ traceId }} }} }}", ASKED + SCAN + 2),
        (f"{{ traces(%s, first: 1, {TOTALS % 'total_cost'}) {{ nodes {{ traceId }} }} }}", ASKED + 2),
        # Each project of a page needs a scan of its own.
        (
            f"{{ projects(first: 9) {{ nodes {{ calls(first: 1, {JSON_PATH}) {{ nodes {{ id }} }} }} }} }}",
            2 * ASKED + 1 + 9 * (1 + 1 + SCAN + 1),
        ),
    ],
)  # fmt: skip
def test_condition_or_sort_without_an_index_costs_a_scan(pricing: Pricing, document: str, cost: int) -> None:
    assert pricing.of(about(document)) == cost


BY_VARIABLES = about(
    """query ($query: QueryInput, $sort: [SortBy!], $filter: CallsFilter, $value: Literal = "x") {
    whole: calls(%s, first: 1, query: $query, sortBy: $sort, filter: $filter) { nodes { id } }
    part: calls(%s, first: 1, query: { expr: { eq: [{ getField: "opName" }, { literal: $value }] } }) { nodes { id } }
    }"""
)


@pytest.mark.parametrize(
    ("variables", "scans"),
    [
        ({}, 0),
        ({"query": None, "sort": None, "filter": None}, 0),
        ({"query": {"expr": {"eq": [{"getField": "op_name"}, {"literal": "x"}]}}}, 0),
        ({"query": {"expr": {"eq": [{"getField": "inputs.a"}, {"literal": "x"}]}}}, 1),
        ({"query": {"json": {"$expr": {"$eq": [{"$getField": "op_name"}, {"$literal": "x"}]}}}}, 0),
        ({"query": {"json": {"$expr": {"$eq": [{"$getField": "inputs.a"}, {"$literal": "x"}]}}}}, 1),
        ({"query": {"json": ["not", "a", "query"]}}, 1),
        ({"sort": [{"field": "started_at", "direction": "DESC"}]}, 0),
        ({"sort": [{"field": "latency_ms", "direction": "DESC"}]}, 0),
        # Calls without a latency come last, an order that no index provides.
        ({"sort": [{"field": "latency_ms", "direction": "ASC"}]}, 1),
        ({"filter": {"wbUserIds": ["me"]}}, 1),
        ({"filter": {"maxTimeToFirstTokenMs": 0}}, 1),
        ({"filter": {"opNames": ["op"], "traceRootsOnly": True}}, 0),
    ],
)
def test_variables_determine_if_a_list_is_a_scan(pricing: Pricing, variables: dict[str, Any], scans: int) -> None:
    assert pricing.of(BY_VARIABLES, **variables) == 2 * (ASKED + 2) + scans * SCAN


@dataclass
class Work:
    """Work of the cost check: the coerced types, and the number of conditions that it evaluated."""

    coerced: list[str] = field(default_factory=list)
    conditions: int = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    coerce, needs_scan = coerce_input_literal, IndexedFields.query_needs_scan

    def coerced(node: Any, kind: Any, values: Any) -> Any:
        work.coerced.append(str(kind))
        return coerce(node, kind, values)

    def counted(indexed: IndexedFields, query: Query) -> bool:
        work.conditions += 1
        return needs_scan(indexed, query)

    monkeypatch.setattr(cost_module, "coerce_input_literal", coerced)
    monkeypatch.setattr(IndexedFields, "query_needs_scan", counted)
    return work


def by_variable(declared: str, operands: str) -> str:
    """Return a document with 20 lists whose conditions compare two operands."""
    selected = f"calls(%s, first: $n, query: {{ expr: {{ eq: [{operands}] }} }}) {{ nodes {{ id }} }}"
    return f"query ($n: Int, {declared}) {aliases(20, selected)}"


def test_condition_with_variable_literals_is_evaluated_once_without_coercion(pricing: Pricing, work: Work) -> None:
    document = by_variable("$v: Literal!", '{ getField: "inputs.a" }, { literal: $v }')
    executor = prepared(pricing.schema, document, {"n": 5, "v": "x"})
    formula = CostFormula(pricing.weights, pricing.limits, executor.operation, {})

    costs = [formula.extensions(executor.variable_values) for _ in range(3)]

    assert [found and found["cost"]["requested"] for found in costs] == 3 * [20 * (ASKED + 1 + SCAN + 5)]
    assert work.conditions == 20
    assert "QueryInput" not in work.coerced


def test_refusal_evaluates_each_condition_once(pricing: Pricing, work: Work) -> None:
    document = by_variable("$field: String!", "{ getField: $field }, { literal: 1 }")

    error = Pricing(pricing.schema, 10).refusal(document, n=5, field="inputs.a")

    assert error.message.startswith("The query may cost 80,320")
    assert work.conditions == 20


def test_ninety_scans_are_refused_and_named(pricing: Pricing) -> None:
    limited = Pricing(pricing.schema, 250_000)

    error = limited.refusal(aliases(90, f"calls(%s, first: 1, {JSON_PATH}) {{ nodes {{ id }} }}"))

    assert (
        "The query may cost 361,080, and the limit is 250,000: 360,180 for the objects that it may return and the "
        in (error.message)
    )
    assert "scans that it needs, a0: 1 + scan: 4,000 + 1 + a1: 1 + scan: 4,000 + 1 + " in error.message
    most = "The most is a0, with 4,000 for a scan, since no index serves its condition, sort or grouping. "
    assert most in error.message
    assert error.extensions is not None
    assert (error.extensions["code"], error.extensions["path"]) == ("QUERY_TOO_COMPLEX", "a0")


@pytest.mark.parametrize(
    "field",
    [
        f"calls(%s, first: 50, {JSON_PATH}) {{ totalCount nodes {{ id inputs output }} }}",
        f"callsStats(%s, {JSON_PATH}) {{ count totalStorageSizeBytes }}",
        "threads(%s, first: 50) { totalCount nodes { turnCount } }",
        'feedback(%s, query: { expr: { gt: [{ getField: "payload.a" }, { literal: 1 }] } }) { nodes { id payload } }',
    ],
)
def test_twenty_five_lists_or_counts_by_json_are_accepted(pricing: Pricing, field: str) -> None:
    assert Pricing(pricing.schema, 250_000).of(aliases(25, field)) < 250_000


async def test_refused_scans_send_nothing_to_the_database(database: Database, commands: Commands) -> None:
    document = aliases(90, f"calls(%s, first: 1, {JSON_PATH}) {{ nodes {{ id }} }}")
    commands.sent.clear()

    result = await build_schema(Limits(max_cost=250_000)).execute(document, context_value=Context(Stores(database)))

    assert [error.extensions["code"] for error in result.errors or ()] == ["QUERY_TOO_COMPLEX"]  # type: ignore[index]
    assert commands.sent == []
