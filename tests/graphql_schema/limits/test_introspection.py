"""Introspection off: no query can read the schema, and no error reveals it."""

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.database import Database
from tests.graphql_schema.conftest import Run, running


@pytest.fixture
def secret(database: Database) -> Run:
    return running(build_schema(Limits(introspection=False)), Context(Stores(database)))


@pytest.mark.parametrize(
    "document",
    [
        "{ __schema { types { name } } }",
        '{ __type(name: "Query") { name } }',
        "{ ...F } fragment F on Query { a: __schema { queryType { name } } }",
        "{ ... @include(if: true) { __schema { queryType { name } } } }",
        "query ($i: Boolean = false) { __schema @include(if: $i) { queryType { name } } __typename }",
    ],
)
async def test_introspection_is_refused_in_every_form(secret: Run, document: str) -> None:
    answer = await secret(document)

    assert answer.data is None
    assert answer.errors[0]["extensions"]["code"] == "FORBIDDEN"
    assert "introspection is off (LOOMQL_INTROSPECTION=false)" in answer.errors[0]["message"]
    assert "queryType" not in str(answer.data)


async def test_typename_is_allowed(secret: Run) -> None:
    assert (await secret("{ __typename }")).data == {"__typename": "Query"}


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ("{ call { id } cals { id } }", {}),
        ('{ calls(projectID: "a/b") { totalCount } }', {}),
        ('{ calls(projectId: "a/b") { nodes { stats } } }', {}),
        ('{ calls(projectId: "a/b", sortBy: [{field: "id", direction: DES}]) { totalCount } }', {}),
        ("query ($f: CallsFilters) { __typename }", {}),
        ('query ($f: CallsFilter) { calls(projectId: "a/b", filter: $f) { totalCount } }', {"f": {"opName": ["a"]}}),
        (
            'query ($s: [SortBy!]) { calls(projectId: "a/b", sortBy: $s) { totalCount } }',
            {"s": [{"field": "id", "direction": "DES"}]},
        ),
    ],
)
async def test_errors_suggest_no_names(secret: Run, run: Run, document: str, variables: dict[str, object]) -> None:
    shown, hidden = await run(document, **variables), await secret(document, **variables)

    assert "Did you mean" in str(shown.errors)
    assert hidden.errors
    assert "Did you mean" not in str(hidden.errors)
