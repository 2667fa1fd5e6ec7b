"""Limits of documents: the server rejects costly documents and caches valid ones."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import strawberry
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, get_introspection_query, parse
from strawberry.types import ExecutionResult as OperationResult

from graphql_schema.engine.documents import DocumentCache, OperationChoiceError, PreparedDocument, PreparedOperation
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.limits import Limits, measure


@strawberry.type
class Node:
    name: str = "node"

    @strawberry.field
    def child(self) -> "Node":
        return Node()


@strawberry.type
class Query:
    @strawberry.field
    def node(self, key: int = 1) -> Node:  # noqa: ARG002 - an argument to alias by
        return Node()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number


def schema_with(**limits: Any) -> LimitedSchema:
    return LimitedSchema(Query, subscription=Subscription, limits=Limits(**limits))


async def only_error(schema: strawberry.Schema, document: str) -> GraphQLError:
    result = await schema.execute(document)
    assert result.data is None
    assert result.errors is not None
    assert len(result.errors) == 1, result.errors
    return result.errors[0]


def nested(levels: int) -> str:
    return "{ node " + "{ child " * (levels - 2) + "{ name " + "}" * levels


async def test_deepest_allowed_document_runs_and_one_level_more_is_refused() -> None:
    schema = schema_with(max_depth=5)

    allowed = await schema.execute(nested(5))
    error = await only_error(schema, nested(6))

    assert allowed.errors is None
    assert allowed.data == {"node": {"child": {"child": {"child": {"name": "node"}}}}}
    assert error.extensions == {
        "code": "QUERY_TOO_COMPLEX",
        "limit": 5,
        "found": 6,
        "setting": "LOOMQL_MAX_QUERY_DEPTH",
    }
    assert "6 field levels" in error.message
    assert "limit is 5" in error.message
    assert "LOOMQL_MAX_QUERY_DEPTH" in error.message


async def test_depth_counts_fields_in_fragments_but_not_the_fragments() -> None:
    schema = schema_with(max_depth=3)
    fragments = "fragment A on Node { ... on Node { ...B } } fragment B on Node { child { name } }"

    assert (await schema.execute("{ node { ...A } }" + fragments)).errors is None
    error = await only_error(schema, "{ node { child { ...A } } }" + fragments)

    assert error.extensions is not None
    assert error.extensions["found"] == 4


async def test_aliases_count_once_for_each_spread_of_their_fragment() -> None:
    schema = schema_with(max_aliases=4)
    fragment = "fragment Twice on Node { a: name b: name }"

    allowed = await schema.execute("{ x: node { ...Twice } node { child { name } } }" + fragment)
    error = await only_error(
        schema, "{ x: node { ...Twice } y: node(key: 2) { ...Twice child { ...Twice } } }" + fragment
    )

    assert allowed.errors is None
    assert error.extensions is not None
    assert error.extensions["code"] == "QUERY_TOO_COMPLEX"
    assert error.extensions["found"] == 8
    assert "LOOMQL_MAX_QUERY_ALIASES" in error.message


async def test_each_operation_of_a_document_is_limited_separately() -> None:
    schema = schema_with(max_aliases=2)
    document = "query A { a: node { name } b: node { name } } query B { c: node { name } d: node { name } }"

    result = await schema.execute(document, operation_name="B")

    assert result.errors is None
    assert result.data == {"c": {"name": "node"}, "d": {"name": "node"}}


async def test_fragment_bomb_is_measured_without_expanding_it() -> None:
    levels = 150
    bomb = "{ node { ...F0 } }" + "".join(
        f"fragment F{level} on Node {{ a: child {{ ...F{level + 1} }} b: child {{ ...F{level + 1} }} }}"
        for level in range(levels)
    )
    bomb += f"fragment F{levels} on Node {{ name }}"

    [(_operation, size)] = measure(parse(bomb))
    error = await only_error(schema_with(max_depth=levels * 2), bomb)

    assert size.depth == levels + 2
    assert size.aliases == 1_000_000
    assert "at least 1,000,000 aliases" in error.message


async def test_long_chain_of_fragments_is_measured_without_recursion() -> None:
    chain = "{ node { ...F0 } }" + "".join(
        f"fragment F{level} on Node {{ child {{ ...F{level + 1} }} }}" for level in range(3000)
    )

    error = await only_error(schema_with(max_tokens=100_000), chain + "fragment F3000 on Node { name }")

    assert error.extensions is not None
    assert error.extensions["code"] == "QUERY_TOO_COMPLEX"
    assert error.extensions["found"] == 3002


async def test_circular_fragments_are_a_standard_error() -> None:
    circle = "{ node { ...A } } fragment A on Node { ...B } fragment B on Node { child { ...A } }"

    error = await only_error(schema_with(), circle)

    assert "Cannot spread fragment 'A' within itself" in error.message


@pytest.mark.parametrize(
    "document",
    [
        "{ node " + "{ child " * 5000 + "{ name " + "}" * 5001 + "}",
        "{ node(key: " + "[" * 5000 + "]" * 5000 + ") { name } }",
        "{ node { " + "... on Node { " * 5000 + "name" + "}" * 5000 + "} }",
        "{ node { ...F0 } }"
        + "".join(f"fragment F{level} on Node {{ ...F{level + 1} }}" for level in range(1000))
        + "fragment F1000 on Node { name }",
    ],
    ids=["selections", "a list literal", "inline fragments", "fragments within fragments"],
)
async def test_document_too_deep_to_parse_is_reported(document: str) -> None:
    error = await only_error(schema_with(max_tokens=100_000), document)

    assert error.extensions == {"code": "QUERY_TOO_COMPLEX"}
    assert "too deeply" in error.message


async def test_field_repeated_100_times_is_merged_and_10_000_times_is_refused() -> None:
    merged = await schema_with().execute("{ node { " + "name " * 100 + "} }")
    error = await only_error(schema_with(), "{ node { " + "name " * 10_000 + "} }")

    assert merged.data == {"node": {"name": "node"}}
    assert error.extensions == {"code": "QUERY_TOO_COMPLEX"}
    assert "too often" in error.message


async def test_tokens_beyond_the_limit_are_refused_by_the_parser() -> None:
    schema = schema_with(max_tokens=100)
    fitting = "{ node { " + "name " * 94 + "} }"

    assert (await schema.execute(fitting)).errors is None
    error = await only_error(schema, "{ node { " + "name " * 96 + "} }")

    assert error.extensions == {
        "code": "QUERY_TOO_COMPLEX",
        "limit": 100,
        "setting": "LOOMQL_MAX_QUERY_TOKENS",
    }
    assert "LOOMQL_MAX_QUERY_TOKENS" in error.message


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (f"{{ node(key: {'9' * 5000}) {{ name }} }}", "number"),
        (f"{{ node(key: -{'9' * 5000}.5) {{ name }} }}", "number"),
        (f"{{ {'n' * 5000} }}", "name"),
        (f"query {'n' * 5000} {{ node {{ name }} }}", "name"),
    ],
)
async def test_too_long_name_or_number_is_refused(document: str, what: str) -> None:
    error = await only_error(schema_with(), document)

    assert f"A {what} in the document has 5,00" in error.message
    assert error.extensions is not None
    assert error.extensions["code"] == "QUERY_TOO_COMPLEX"


async def test_too_long_document_is_refused_before_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = schema_with(max_characters=2000)
    monkeypatch.setattr("graphql_schema.engine.documents.parse", None)

    error = await only_error(schema, '{ node(key: "' + "\\u00e9" * 400 + '") { name } }')

    assert "LOOMQL_MAX_QUERY_CHARACTERS" in error.message
    assert error.extensions == {
        "code": "QUERY_TOO_COMPLEX",
        "limit": 2000,
        "found": 2426,
        "setting": "LOOMQL_MAX_QUERY_CHARACTERS",
    }


async def test_names_have_a_length_limit_but_comments_and_strings_do_not() -> None:
    result = await schema_with().execute(f"query {'n' * 1000} {{ node(key: 5) {{ name }} }} # {'c' * 5000}")

    assert result.data == {"node": {"name": "node"}}


async def test_graphiql_introspection_is_exempt_from_the_depth_limit() -> None:
    query = get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
        one_of=True,
    )

    result = await schema_with(max_depth=2, max_aliases=0).execute(query)

    assert result.errors is None
    assert result.data is not None
    assert "Node" in [each["name"] for each in result.data["__schema"]["types"]]


async def test_deeply_nested_introspection_is_refused() -> None:
    query = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"

    error = await only_error(schema_with(), query)

    assert error.message == "Maximum introspection depth exceeded"


async def test_cached_document_runs_with_its_own_variables_and_operation() -> None:
    schema = schema_with()
    document = "query A($with: Boolean!) { node { name @include(if: $with) child { name } } } query B { __typename }"

    results = [
        await schema.execute(document, {"with": True}, operation_name="A"),
        await schema.execute(document, {"with": False}, operation_name="A"),
        await schema.execute(document, operation_name="B"),
    ]

    assert [result.errors for result in results] == [None, None, None]
    assert [result.data for result in results] == [
        {"node": {"name": "node", "child": {"name": "node"}}},
        {"node": {"child": {"name": "node"}}},
        {"__typename": "Query"},
    ]


async def test_invalid_document_is_invalid_every_time() -> None:
    schema = schema_with(max_depth=3)

    codes = [((await only_error(schema, nested(4))).extensions or {}).get("code") for _ in range(3)]
    messages = [(await only_error(schema, "{ nothing }")).message for _ in range(3)]

    assert codes == ["QUERY_TOO_COMPLEX"] * 3
    assert messages == ["Cannot query field 'nothing' on type 'Query'."] * 3


async def test_document_cached_by_one_schema_is_checked_by_another() -> None:
    generous, strict = schema_with(max_depth=10), schema_with(max_depth=3)

    assert (await generous.execute(nested(4))).errors is None
    error = await only_error(strict, nested(4))

    assert error.extensions is not None
    assert error.extensions["limit"] == 3


async def test_valid_document_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = schema_with()
    parsed: list[str] = []

    def counting(source: str, max_tokens: int) -> object:
        parsed.append(source)
        return parse(source, max_tokens=max_tokens)

    monkeypatch.setattr("graphql_schema.engine.documents.parse", counting)
    for _ in range(3):
        assert (await schema.execute("{ node { name } }")).errors is None

    assert parsed == ["{ node { name } }"]


LONG = "{ __typename }" + " " * 12


def unprepared(_node: OperationDefinitionNode) -> PreparedOperation:
    raise AssertionError


def test_cache_evicts_the_least_recently_used_document() -> None:
    cache, node = DocumentCache(max_characters=100), parse(LONG)
    texts = [f"{{ a{number}: __typename }}" + " " * 6 for number in range(5)]
    assert {len(text) for text in texts} == {24}
    for text in texts[:4]:
        cache.add(PreparedDocument(text, node, unprepared))

    cache.get(texts[0])
    for text in [texts[4], LONG]:
        cache.add(PreparedDocument(text, node, unprepared))

    assert [number for number, text in enumerate(texts) if cache.get(text)] == [0, 2, 3, 4]
    assert cache.get(LONG) is None  # too long for it


async def test_document_with_many_operations_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    schema, parsed = schema_with(), list[str]()

    def counting(source: str, max_tokens: int) -> object:
        parsed.append(source)
        return parse(source, max_tokens=max_tokens)

    monkeypatch.setattr("graphql_schema.engine.documents.parse", counting)
    text = " ".join(f"query Q{number} {{ node {{ name }} }}" for number in range(30))
    for _ in range(2):
        for number in range(30):
            assert (await schema.execute(text, operation_name=f"Q{number}")).errors is None

    assert parsed == [text]


async def test_operations_of_one_document_are_prepared_by_their_names() -> None:
    schema = schema_with()
    document = "query A($a: Int = 1) { node(key: $a) { name } } subscription B { count(to: 3) } query C { ...F } "
    document += "fragment F on Query { node { name } }"

    first, second, third = [await prepared(schema, document, name) for name in "ABC"]

    assert [each.is_query for each in (first, second, third)] == [True, False, True]
    assert [each.root_field for each in (first, second, third)] == ["node", "count", "several"]
    assert [each.variable_types for each in (first, second, third)] == [{"a": "Int"}, {}, {}]
    assert second.is_open_ended_subscription
    assert not second.is_finite_subscription
    assert await prepared(schema, document, "A") is first


async def prepared(schema: LimitedSchema, document: str, name: str | None) -> PreparedOperation:
    found = await schema.prepare(document, name)
    assert isinstance(found, PreparedOperation)
    return found


@pytest.mark.parametrize(
    ("document", "name", "message"),
    [
        (
            "query A { __typename } query B { __typename }",
            None,
            "The document has several operations; set operationName to one of them (A, B).",
        ),
        (
            "{ __typename } { __typename }",
            None,
            "The document has several operations; set operationName to one of them (none with a name).",
        ),
        (
            "query A { __typename }",
            "C",
            'No operation is named "C"; the document has: A.',
        ),
        (
            "fragment F on Node { name }",
            None,
            "The document has no operation to run; add a query, mutation or subscription.",
        ),
    ],
)
async def test_ambiguous_operation_is_an_error(document: str, name: str | None, message: str) -> None:
    schema = schema_with()

    for _ in range(2):
        with pytest.raises(OperationChoiceError) as caught:
            await schema.execute(document, operation_name=name)
        assert caught.value.as_http_error_reason() == message


async def test_limits_apply_to_streamed_operations() -> None:
    schema = schema_with(max_aliases=0)

    counted = [result async for result in await schema.stream("subscription { count(to: 3) }")]
    refused = [result async for result in await schema.stream("subscription { a: count(to: 3) }")]
    unreadable = [result async for result in await schema.stream("{ node ")]

    assert [data(result) for result in counted] == [{"count": 0}, {"count": 1}, {"count": 2}]
    assert [code(result) for result in refused] == ["QUERY_TOO_COMPLEX"]
    assert len(unreadable) == 1
    assert data(unreadable[0]) is None


def data(result: object) -> object:
    assert isinstance(result, OperationResult | ExecutionResult)
    return result.data


def code(result: object) -> object:
    assert isinstance(result, OperationResult | ExecutionResult)
    assert result.errors
    return (result.errors[0].extensions or {}).get("code")
