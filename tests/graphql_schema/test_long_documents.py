"""Long documents: while one is read, others go on, and what comes of it is the same."""

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
from tests.waiting import turns_beside

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
async def test_others_go_on_while_a_long_one_is_read(
    schema: LoomSchema, run: Run, text: str, *, lets_others_in: bool
) -> None:
    assert (await turns_beside(run(schema, text)) > 5) is lets_others_in


@pytest.mark.parametrize("run", [executed, streamed])
async def test_what_comes_of_a_long_one_is_the_same(schema: LoomSchema, run: Run) -> None:
    for _ in range(2):  # read anew, and kept
        assert (await run(schema, padded(SHORT))).data == {"greeting": "Hello"}
    for document in ("{ greting }", "{ greeting(to: 1) }", "{"):
        short, long = [await run(schema, text) for text in (document, padded(document))]
        assert short.errors
        assert [error.message for error in long.errors or ()] == [error.message for error in short.errors]


async def test_what_a_long_one_does_is_known_before_it_is_valid(schema: LoomSchema) -> None:
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


async def test_a_look_at_a_long_document_lets_others_in_and_is_kept(schema: LoomSchema) -> None:
    text = padded("{ " + MISSPELT + " }")

    assert await turns_beside(schema.prepare(text, None)) > 5
    assert await turns_beside(schema.prepare(text, None)) == 0
    assert schema.is_query(text, None)


async def test_documents_beyond_the_limit_take_no_time_to_look_at(schema: LoomSchema) -> None:
    text = "{" + "greeting " * 60_000 + "}"

    assert await turns_beside(schema.prepare(text, None)) == 0
    assert not schema.is_query(text, None)
    assert schema._documents._heads == {}
    errors = (await executed(schema, text)).errors or []
    assert [error.message.split(". ")[0] for error in errors] == [
        "The document has 540,002 characters; the limit is 500,000"
    ]


async def test_variable_types_of_a_long_document_are_read_while_others_go_on(schema: LoomSchema) -> None:
    text = padded("query ($a: Boolean!) { " + " ".join(f"g{n}: greeting @skip(if: $a)" for n in range(90)) + " }")
    found: list[dict[str, str]] = []

    async def read() -> None:
        found.append(await schema.variable_types(text, None))

    assert await turns_beside(read()) > 5
    assert found == [{"a": "Boolean"}]


@pytest.mark.parametrize("kind", [LimitedRootsExecutor, CompilingExecutor])
async def test_introspection_of_the_schema_lets_others_in(kind: type[LimitedRootsExecutor]) -> None:
    schema = LoomSchema(Query, limits=Limits(), execution_context_class=kind)
    for _ in range(3):  # a selection is compiled when the server meets it again
        results: list[ExecutionResult] = []

        async def ask(into: list[ExecutionResult]) -> None:
            into.append(await executed(schema, get_introspection_query()))

        assert await turns_beside(ask(results)) > 0
        [result] = results
        assert result.errors is None
        assert result.data is not None
        kinds = {kind["name"]: kind for kind in result.data["__schema"]["types"]}
        assert [field["name"] for field in kinds["Query"]["fields"]] == ["greeting"]


def test_operations_of_one_are_told_apart_and_their_names_take_no_room(schema: LoomSchema) -> None:
    text = padded("query a { greeting } subscription b { count }")
    names = ["a", "b", "", None, "x" * 100_000]

    found = [(schema.is_query(text, name), schema.is_subscription(text, name)) for name in names]

    assert found == [(True, False), (False, True), (False, False), (False, False), (False, False)]
    assert sum(map(len, schema._documents._heads)) == len(names) * 16
