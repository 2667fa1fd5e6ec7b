"""Long documents: other requests proceed while the server parses one, and the result is the same."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import strawberry
from graphql import get_introspection_query
from strawberry.types import ExecutionResult

from graphql_schema.engine.documents import LONG_DOCUMENT
from graphql_schema.execution.executor import CompilingExecutor
from graphql_schema.execution.roots import LimitedRootsExecutor
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from tests.waiting import loop_turns_during

SHORT = "{ greeting }"
MISSPELT = " ".join(f"greting{number}" for number in range(2_000))


Run = Callable[[LoomSchema, str], Awaitable[ExecutionResult]]


@strawberry.type
class Query:
    greeting: str = "Hello"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self) -> AsyncIterator[int]:
        yield 1


@pytest.fixture
def schema() -> LoomSchema:
    return LoomSchema(Query, None, Subscription, limits=Limits(max_tokens=10_000))


def padded(document: str) -> str:
    return document + " " * LONG_DOCUMENT


async def executed(schema: LoomSchema, document: str) -> ExecutionResult:
    return await schema.execute(document, root_value=Query())


async def streamed(schema: LoomSchema, document: str) -> ExecutionResult:
    [result] = [result async for result in await schema.stream(document, root_value=Query())]
    assert isinstance(result, ExecutionResult)
    return result


@pytest.mark.parametrize("run", [executed, streamed])
@pytest.mark.parametrize(("text", "lets_others_in"), [(SHORT, False), (padded("{ " + MISSPELT + " }"), True)])
async def test_other_requests_run_while_a_long_document_is_parsed(
    schema: LoomSchema, run: Run, text: str, *, lets_others_in: bool
) -> None:
    assert (await loop_turns_during(run(schema, text)) > 5) is lets_others_in


@pytest.mark.parametrize("run", [executed, streamed])
async def test_long_document_gives_the_same_result(schema: LoomSchema, run: Run) -> None:
    for _ in range(2):  # the server parses the document, then reads it from the cache
        assert (await run(schema, padded(SHORT))).data == {"greeting": "Hello"}
    for document in ("{ greting }", "{ greeting(to: 1) }", "{"):
        short, long = [await run(schema, text) for text in (document, padded(document))]
        assert short.errors
        assert [error.message for error in long.errors or ()] == [error.message for error in short.errors]


async def test_operation_type_of_a_long_document_is_known_before_validation(schema: LoomSchema) -> None:
    query, invalid, watching = padded(SHORT), padded("{ greting }"), padded("subscription { count }")
    for _ in range(2):
        assert [schema.is_query(text, None) for text in (query, invalid, watching, padded("{"))] == [
            True,
            True,
            False,
            False,
        ]
        assert [schema.is_open_ended_subscription(text, None) for text in (query, invalid, watching)] == [
            False,
            False,
            True,
        ]


async def test_inspection_of_a_long_document_yields_and_is_cached(schema: LoomSchema) -> None:
    text = padded("{ " + MISSPELT + " }")

    assert await loop_turns_during(schema.prepare(text, None)) > 5
    assert await loop_turns_during(schema.prepare(text, None)) == 0
    assert schema.is_query(text, None)


async def test_documents_over_the_limit_are_inspected_in_no_time(schema: LoomSchema) -> None:
    text = "{" + "greeting " * 60_000 + "}"

    assert await loop_turns_during(schema.prepare(text, None)) == 0
    assert not schema.is_query(text, None)
    assert schema._documents._heads == {}
    errors = (await executed(schema, text)).errors or []
    assert [error.message.split(". ")[0] for error in errors] == [
        "The document has 540,002 characters; the limit is 500,000"
    ]


async def test_variable_types_of_a_long_document_are_read_cooperatively(schema: LoomSchema) -> None:
    text = padded("query ($a: Boolean!) { " + " ".join(f"g{n}: greeting @skip(if: $a)" for n in range(90)) + " }")
    found: list[dict[str, str]] = []

    async def read() -> None:
        found.append(await schema.variable_types(text, None))

    assert await loop_turns_during(read()) > 5
    assert found == [{"a": "Boolean"}]


@pytest.mark.parametrize("kind", [LimitedRootsExecutor, CompilingExecutor])
async def test_introspection_yields_to_other_requests(kind: type[LimitedRootsExecutor]) -> None:
    schema = LoomSchema(Query, limits=Limits(), execution_context_class=kind)
    for _ in range(3):  # a selection is compiled on its second run
        results: list[ExecutionResult] = []

        async def ask(into: list[ExecutionResult]) -> None:
            into.append(await executed(schema, get_introspection_query()))

        assert await loop_turns_during(ask(results)) > 0
        [result] = results
        assert result.errors is None
        assert result.data is not None
        kinds = {kind["name"]: kind for kind in result.data["__schema"]["types"]}
        assert [field["name"] for field in kinds["Query"]["fields"]] == ["greeting"]


def test_operation_names_are_distinguished_and_take_no_memory(schema: LoomSchema) -> None:
    text = padded("query a { greeting } subscription b { count }")
    names = ["a", "b", "", None, "x" * 100_000]

    found = [(schema.is_query(text, name), schema.is_subscription(text, name)) for name in names]

    assert found == [(True, False), (False, True), (False, False), (False, False), (False, False)]
    assert sum(map(len, schema._documents._heads)) == len(names) * 16
