"""The server rejects a query that may cost too much before it runs; the error explains the cost in correct numbers."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema, build_schema
from stores.calls import CallsStore
from stores.database import Database
from tests.commands import Commands
from tests.graphql_schema.limits.costing import Pricing, about
from tests.stores.calls.builders import end, start

FEEDBACK = about("{ calls(%s, first: 10000) { nodes { id feedback(first: 100) { nodes { id } } } } }")
Limited = Callable[[int], Pricing]


@pytest.fixture
def limited(schema: LoomSchema) -> Limited:
    return lambda max_cost: Pricing(schema._schema, max_cost)


def sum_of(message: str) -> int:
    """Return the value of the sum in a message, without its labels."""
    [text] = re.findall(r"may return(?: and the scans that it needs)?, (.*), and [\d,]+ for its work", message)
    plain = re.sub(r"\w+: ", "", text).replace(",", "").replace(" x ", " * ")
    assert re.fullmatch(r"[\d+*() ]+", plain), plain
    found: int = eval(plain)  # noqa: S307 -- digits and signs, as the line above sees to
    return found


def test_message_has_total_heaviest_fields_and_fix(limited: Limited) -> None:
    error = limited(250_000).refusal(FEEDBACK)

    assert error.message == (
        "The query may cost 1,020,021, and the limit is 250,000: 1,020,001 for the objects that it may return, "
        "calls: 1 + 10,000 x (1 + feedback: 1 + 100 x 1), and 20 for its work in the database. "
        "The most is calls.nodes.feedback.nodes, with 1,000,000. Request fewer of calls.nodes.feedback or of calls "
        "(a smaller `first`, and the next page by cursor), or raise LOOMQL_MAX_QUERY_COST on the server."
    )
    assert error.extensions == {
        "code": "QUERY_TOO_COMPLEX",
        "cost": 1_020_021,
        "limit": 250_000,
        "setting": "LOOMQL_MAX_QUERY_COST",
        "path": "calls.nodes.feedback.nodes",
    }


@pytest.mark.parametrize(
    "document",
    [
        FEEDBACK,
        "{ calls(%s) { pageInfo { hasNextPage } edges { node { usage { model } feedback { nodes { id } } } } } }",
        "{ a: calls(%s, first: 30) { nodes { id } } b: calls(%s) { edges { cursor } nodes { inputRefs { ref } } } }",
        "{ threads(%s) { nodes { turns { nodes { feedback { edges { node { call { usage { model } } } } } } } } } }",
        '{ refs(refs: ["a", "b"]) calls(%s) { nodes { val: inputs(path: "a") output } } }',
        "{ " + " ".join(f"a{n}: calls(%s, first: {n}) {{ nodes {{ id }} }}" for n in range(1, 60)) + " }",
        'mutation { callsDelete(%s, callIds: ["a", "b"]) { numDeleted } callUpdate(%s, callId: 5) { __typename } }',
    ],
)
def test_total_in_the_message_is_correct(limited: Limited, document: str) -> None:
    document = about(document)
    cost = limited(10**9).of(document)

    error = limited(cost - 1).refusal(document) if "mutation" not in document else limited(5).refusal(document)

    [objects, work] = re.findall(r"([\d,]+) for (?:the objects|its work in the database)", error.message)
    assert int(objects.replace(",", "")) + int(work.replace(",", "")) == cost
    assert sum_of(error.message) == int(objects.replace(",", ""))
    assert limited(cost).of(document) == cost
    assert len(error.message) < 1_200


def test_too_many_database_queries_are_named_as_the_reason(limited: Limited) -> None:
    charts = "{ " + " ".join(f"c{n}: callsAggregate(%s) {{ numGroups }}" for n in range(40)) + " }"

    error = limited(250_000).refusal(about(charts))

    assert "and 320,000 for its work in the database. Request less, or raise" in error.message


async def test_too_costly_operation_sends_no_database_command(database: Database, commands: Commands) -> None:
    schema = build_schema(Limits(max_cost=250_000))
    context = Context(Stores(database))
    commands.sent.clear()

    result = await schema.execute(FEEDBACK, context_value=context)
    streamed = [each async for each in await schema.stream(FEEDBACK, context_value=context)]

    for each in (result, *streamed):
        assert each.data is None  # type: ignore[union-attr] # the schema has no incremental delivery
        assert each.extensions == {"cost": {"requested": 1_020_021, "limit": 250_000}}
        assert [error.extensions["code"] for error in each.errors or ()] == ["QUERY_TOO_COMPLEX"]  # type: ignore[union-attr,index]
    assert commands.sent == []


async def test_subscription_limit_applies_to_the_cost_of_one_event(database: Database) -> None:
    schema = build_schema(Limits(max_cost=50))
    document = about("subscription { callEvents(%s) { call { feedback { nodes { id } } } } }")

    [refused] = [each async for each in await schema.stream(document, context_value=Context(Stores(database)))]

    [error] = refused.errors or []  # type: ignore[union-attr] # as above
    assert "The subscription may cost 113, and the limit is 50" in error.message


@pytest.mark.parametrize("compiled", [True, False])
async def test_mutation_is_not_refused_for_its_input_size(database: Database, *, compiled: bool) -> None:
    schema = build_schema(Limits(max_cost=100), compiled=compiled)
    context = Context(Stores(database))
    made = [
        {
            "start": {
                "projectId": "acme/chat",
                "opName": "op",
                "startedAt": "2026-01-01T00:00:00Z",
                "attributes": {},
                "inputs": {},
            }
        }
    ] * 300
    document = "mutation ($batch: [CallBatchMode!]!) { callCreateBatch(batch: $batch) { res { __typename } } }"
    # The limit still applies to the data that a mutation reads.
    greedy = document[:-1] + about(
        ' completionsCreate(%s, inputs: { model: "m" }) { call { feedback { nodes { id } } } } }'
    )

    stored = await schema.execute(document, {"batch": made}, context_value=context)
    refused = await schema.execute(greedy, {"batch": made[:1]}, context_value=context)

    assert stored.errors is None
    assert stored.extensions == {"cost": {"requested": 611, "limit": 100}}
    assert len(stored.data["callCreateBatch"]["res"]) == 300  # type: ignore[index]
    assert [error.extensions["code"] for error in refused.errors or ()] == ["QUERY_TOO_COMPLEX"]  # type: ignore[index]


async def test_full_pages_cost_exactly_what_they_return(database: Database, calls: CallsStore) -> None:
    await calls.write([each for number in range(4) for each in (start(number), end(number))])
    schema = build_schema(Limits(max_cost=250_000))
    document = """query ($first: Int!) { calls(projectId: "acme/chat", first: $first) {
        pageInfo { hasNextPage } edges { node { id inputs } } } }"""

    result = await schema.execute(document, {"first": 3}, context_value=Context(Stores(database)))

    assert result.errors is None
    assert result.extensions == {"cost": {"requested": 10 + objects_in(result.data), "limit": 250_000}}


def objects_in(value: Any) -> int:
    """Return the number of objects in an answer, including JSON values but not the answer itself."""
    if isinstance(value, dict):
        below = sum(objects_in(each) for each in value.values())
        return below + sum(not isinstance(each, str | bool | int | list | None) for each in value.values())
    if isinstance(value, list):
        return sum(1 + objects_in(each) for each in value)
    return 0


async def test_invalid_page_size_is_reported_by_its_field(database: Database) -> None:
    schema = build_schema(Limits(max_cost=250_000))
    document = about("{ calls(%s, first: 1000000) { nodes { id } } }")

    result = await schema.execute(document, context_value=Context(Stores(database)))

    [error] = result.errors or []
    assert "first: 1,000,000 exceeds the limit of 10,000 rows per page" in error.message
