"""The costs of fields: each case is a document of the API and the sum that makes up its cost."""

from typing import Any

import pytest
from graphql import get_introspection_query

from app.settings import Settings
from graphql_schema.schema import LoomSchema
from tests.graphql_schema.limits.costing import Pricing, about

ASKED, COUNT, SCAN = 10, 1_000, 8_000
"""Costs of database work: a lookup, a read of an index, and a read of all calls."""

REFS = "query ($refs: [String!]!) { refs(refs: $refs) }"
DIGESTS = about("query ($digests: [String!]) { tablesStats(%s, digests: $digests) { count } }")
AMONG = about("query ($filter: CallsFilter) { calls(%s, filter: $filter) { nodes { id } } }")
AMONG_IDS = about("query ($ids: [ID!]) { calls(%s, filter: { callIds: $ids }) { nodes { id } } }")
BATCH = "mutation ($batch: [CallBatchMode!]!) { callCreateBatch(batch: $batch) { res { __typename } } }"
START = {
    "start": {
        "projectId": "acme/chat",
        "opName": "op",
        "startedAt": "2026-01-01T00:00:00Z",
        "attributes": {},
        "inputs": {},
    }
}


@pytest.mark.parametrize(
    ("document", "variables", "cost"),
    [
        ("{ __typename }", {}, 0),
        ("{ call(%s, id: 5) { id opName status startedAt } }", {}, ASKED + 1),
        ('{ call(%s, id: 5) { id inputs output(path: "a") } }', {}, ASKED + 3),
        ("{ call(%s, id: 5) { usage { model } costs { model } op { objectId } } }", {}, 2 * ASKED + 1 + 3 + 3 + 1),
        ("{ calls(%s) { nodes { id } } }", {}, ASKED + 1 + 100),
        ("{ calls(%s, first: 7) { nodes { id } pageInfo { hasNextPage } } }", {}, ASKED + 1 + 7 + 1),
        ("{ calls(%s, first: 7) { edges { cursor node { id } } } }", {}, ASKED + 1 + 7 * 2),
        ("{ calls(%s, last: 7) { nodes { id } edges { cursor } } }", {}, ASKED + 1 + 7 + 7),
        ("{ calls(%s, first: 10000) { totalCount } }", {}, ASKED + COUNT + 2),
        ("{ calls(%s, first: 0) { nodes { id } } }", {}, ASKED + 1),
        (
            "{ calls(%s, first: 5) { nodes { feedback(first: 3) { totalCount nodes { id } } } } }",
            {},
            2 * ASKED + COUNT + 1 + 5 * 6,
        ),
        ("{ calls(%s, first: 5) { nodes { feedback { nodes { payload } } } } }", {}, 20 + 1 + 5 * (1 + 1 + 20 * 2)),
        ("{ calls(%s, first: 5) { nodes { feedback(last: 30) { nodes { id } } } } }", {}, 20 + 1 + 5 * (1 + 1 + 30)),
        ("{ call(%s, id: 5) { feedback { nodes { id } } } }", {}, 2 * ASKED + 1 + 1 + 100),
        ('{ node(id: "a") { ... on CallSchema { feedback { nodes { id } } } } }', {}, 2 * ASKED + 1 + 1 + 100),
        ('{ nodes(ids: ["a", "b"]) { ... on CallSchema { feedback { nodes { id } } } } }', {}, 20 + 2 * (1 + 1 + 20)),
        (
            """{ one: call(%s, id: 5) { ...F } some: calls(%s, first: 3) { nodes { ...F } } }
            fragment F on CallSchema { feedback { nodes { id } } }""",
            {},
            4 * ASKED + (1 + 1 + 100) + 1 + 3 * (1 + 1 + 20),
        ),
        ('{ calls(%s, filter: { callIds: ["a", "b", "c"] }) { nodes { id } } }', {}, ASKED + 1 + 3),
        ('{ calls(%s, first: 2, filter: { callIds: ["a", "b", "c"] }) { nodes { id } } }', {}, ASKED + 1 + 2),
        ("{ calls(%s, filter: { callIds: [] }) { nodes { id } } }", {}, ASKED + 1 + 100),
        ('{ calls(%s, filter: { traceIds: ["a"] }) { nodes { id } } }', {}, ASKED + 1 + 100),
        (AMONG, {"filter": {"callIds": ["a", "b"]}}, ASKED + 1 + 2),
        (AMONG, {"filter": {"callIds": ["a"] * 400}}, ASKED + 1 + 100),
        (AMONG, {"filter": {"callIds": None}}, ASKED + 1 + 100),
        (AMONG, {}, ASKED + 1 + 100),
        (AMONG_IDS, {"ids": ["a", "b"]}, ASKED + 1 + 2),
        (
            '{ projects(first: 2) { nodes { calls(filter: { callIds: ["a"] }) { nodes { id } } } } }',
            {},
            2 * ASKED + 1 + 2 * (1 + 1 + 1),
        ),
        ("{ calls(%s, first: 5) { nodes { inputRefs { kind obj { ref } } } } }", {}, 20 + 1 + 5 * (1 + 10 * 2)),
        ("{ callsStats(%s) { count } }", {}, COUNT + 1),
        ("{ callsAggregate(%s) { numGroups } }", {}, SCAN + 1),
        ('{ search(%s, text: "a", first: 5) { totalCount nodes { score } } }', {}, SCAN + COUNT + 2 + 5),
        ('{ search(%s, text: "a", last: 5) { nodes { highlights { path } } } }', {}, SCAN + 1 + 5 * (1 + 10)),
        ('{ trace(%s, traceId: "a") { totals { numCalls } } }', {}, ASKED + COUNT + 2),
        ('{ trace(%s, traceId: "a") { tree(first: 5) { nodes { depth } } } }', {}, ASKED + COUNT + 2 + 5),
        ('{ trace(%s, traceId: "a") { roots(first: 5) { nodes { id } } root { id } } }', {}, 2 * ASKED + COUNT + 3 + 5),
        ("{ callsAggregate(%s) { rows { count } } }", {}, SCAN + 1 + 100),
        ("{ callsAggregate(%s, limit: 5) { rows { count } } }", {}, SCAN + 1 + 5),
        ('{ callsFacets(%s, fields: ["id"], limit: 5) { values { count } } }', {}, SCAN + 5 * (1 + 20)),
        ('{ refs(refs: ["a", "b", "c"]) }', {}, ASKED + 3),
        ('{ refs(refs: "a") }', {}, ASKED + 1),
        (REFS, {"refs": ["a"] * 40}, ASKED + 40),
        (REFS, {"refs": []}, ASKED),
        (DIGESTS, {"digests": ["a"] * 4}, ASKED + 4),
        (DIGESTS, {"digests": None}, ASKED),
        (DIGESTS, {}, ASKED),
        ("subscription { callEvents(%s) { type call { id usage { model } } } }", {}, 1 + 1 + 3),
        (BATCH, {"batch": []}, ASKED + 1),
        (BATCH, {"batch": [START] * 20}, ASKED + 1 + 20 + 20),
    ],
)
def test_document_has_its_expected_cost(pricing: Pricing, document: str, variables: dict[str, Any], cost: int) -> None:
    document = about(document)

    assert pricing.of(document, **variables) == cost


@pytest.mark.parametrize(
    ("variables", "size"),
    [
        ({"first": 7}, 7),
        ({"first": 0}, 0),
        ({"last": 7}, 7),
        ({"first": None, "last": 8}, 8),
        ({"first": None}, 100),
        ({}, 100),
        ({"first": 10_000}, 10_000),
        # The cost of an invalid size stays within the valid range, so that the field can report its own error.
        ({"first": 2**31 - 1}, 10_000),
        ({"first": -5}, 0),
    ],
)
def test_page_size_is_read_from_variables(pricing: Pricing, variables: dict[str, Any], size: int) -> None:
    document = about("query ($first: Int, $last: Int) { calls(%s, first: $first, last: $last) { nodes { id } } }")

    assert pricing.of(document, **variables) == ASKED + 1 + size


def test_default_of_a_variable_is_used_as_page_size(pricing: Pricing) -> None:
    document = about("query ($first: Int = 3) { calls(%s, first: $first) { nodes { id } } }")

    assert [pricing.of(document), pricing.of(document, first=5), pricing.of(document, first=None)] == [14, 16, 111]


def test_page_with_25_charts_is_within_the_default_limit(schema: LoomSchema) -> None:
    grouped = "bucket: DAY, groupBy: [TIME_BUCKET, MODEL]"
    chart = f"callsAggregate(%s, {grouped}) {{ numGroups rows {{ bucketStart model count cost }} }}"
    charts = " ".join(f"c{number}: {chart}" for number in range(25))
    page = "recent: calls(%s) { totalCount nodes { id traceName inputs output feedback { nodes { id } } } }"
    default: int = Settings.model_fields["max_query_cost"].default

    limited = Pricing(schema._schema, max_cost=default)

    assert limited.of(about(f"{{ {charts} }}")) == 25 * (SCAN + 1 + 100) == 202_525
    assert limited.of(about(f"{{ {charts} {page} }}")) < default


def test_page_size_is_capped_by_the_server_maximum(schema: Any) -> None:
    small = Pricing(schema._schema, max_page_size=50)

    assert small.of(about("{ calls(%s, first: 1000) { nodes { id } } }")) == ASKED + 1 + 50


def test_table_rows_count_in_every_position(pricing: Pricing) -> None:
    rows = [{"a": 1}, {"a": 2}, {"a": 3}]
    whole = "mutation ($table: TableSchemaForInsert!) { tableCreate(table: $table) { digest rowDigests } }"
    part = 'mutation ($rows: [JSON!]!) { tableCreate(table: { projectId: "acme/chat", rows: $rows }) { digest } }'
    literal = (
        'mutation { tableCreate(table: { projectId: "acme/chat", rows: [{ a: 1 }, { a: 2 }, { a: 3 }] }) { digest } }'
    )

    assert pricing.of(whole, table={"projectId": "acme/chat", "rows": rows}) == ASKED + 1 + 3
    assert pricing.of(part, rows=rows) == ASKED + 1 + 3
    assert pricing.of(literal) == ASKED + 1 + 3


def test_graphiql_introspection_costs_little(pricing: Pricing) -> None:
    query = get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
        one_of=True,
    )

    assert 1_000 < pricing.of(query) < 25_000


def test_introspection_cost_grows_with_the_schema(pricing: Pricing) -> None:
    kinds = pricing.schema.type_map

    assert pricing.of("{ __schema { types { name } } }") == 1 + len(kinds)
    assert pricing.of("{ __schema { types { fields { name } } } }") > 1 + len(kinds) + sum(
        len(getattr(kind, "fields", ())) for kind in kinds.values() if not hasattr(kind, "is_one_of")
    )
