"""Long documents: other requests proceed while the server parses one, and the result is the same."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import strawberry
from graphql import get_introspection_query
from strawberry.types import ExecutionResult

from graphql_schema.engine.documents import LONG_DOCUMENT, PreparedOperation
from graphql_schema.execution.executor import CompilingExecutor, LimitedRootsExecutor
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
    assert (await loop_turns_during(run(schema, text)) > 0) is lets_others_in


@pytest.mark.parametrize("run", [executed, streamed])
async def test_long_document_gives_the_same_result(schema: LoomSchema, run: Run) -> None:
    for _ in range(2):  # the server parses the document, then reads it from the cache
        assert (await run(schema, padded(SHORT))).data == {"greeting": "Hello"}
    for document in ("{ greting }", "{ greeting(to: 1) }", "{"):
        short, long = [await run(schema, text) for text in (document, padded(document))]
        assert short.errors
        assert [error.message for error in long.errors or ()] == [error.message for error in short.errors]


async def test_long_document_is_prepared_in_a_thread_and_cached(schema: LoomSchema) -> None:
    text = padded("query ($a: Boolean!) { " + " ".join(f"g{n}: greeting @skip(if: $a)" for n in range(90)) + " }")

    assert await loop_turns_during(schema.prepare(text)) > 0
    assert await loop_turns_during(schema.prepare(text)) == 0
    prepared = await schema.prepare(text)
    assert isinstance(prepared, PreparedOperation)
    assert prepared.is_query
    assert prepared.variable_types == {"a": "Boolean"}


async def test_documents_over_the_limit_are_rejected_in_no_time(schema: LoomSchema) -> None:
    text = "{" + "greeting " * 60_000 + "}"

    assert await loop_turns_during(schema.prepare(text)) == 0
    errors = (await executed(schema, text)).errors or []
    assert [error.message.split(". ")[0] for error in errors] == [
        "The document has 540,002 characters; the limit is 500,000"
    ]


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


async def test_operation_names_are_distinguished_and_wrong_ones_take_no_memory(schema: LoomSchema) -> None:
    text = padded("query a { greeting } subscription b { count }")
    names = ["a", "b", "", None, "x" * 100_000]

    found = [await schema.prepare(text, name) for name in names]

    assert [isinstance(each, PreparedOperation) and each.kind.value for each in found] == [
        *("query", "subscription", False, False, False)
    ]
    [document] = schema._documents._cache._documents.values()
    assert document.operations.keys() == {"a", "b"}
