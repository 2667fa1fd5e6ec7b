"""Errors have a code and name the argument at fault, but reveal no internals."""

import logging

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.errors import camel_path
from graphql_schema.schema import LoomSchema
from stores.database import Database
from tests.graphql_schema.conftest import Run


async def test_invalid_argument_is_named_as_in_the_schema(run: Run) -> None:
    answer = await run(
        '{ calls(projectId: "acme/chat", sortBy: [{field: "latncy_ms", direction: ASC}]) { totalCount } }'
    )

    [error] = answer.errors
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "sortBy.0.field"}
    assert error["message"].startswith("sortBy.0.field: there is no field 'latncy_ms'; did you mean latency_ms")
    assert error["path"] == ["calls"]


@pytest.mark.parametrize(
    "document", ["{", "{ nothing }", "{ calls { totalCount } }", "query ($x: Int!) { __typename }"]
)
async def test_graphql_language_errors_are_client_errors(run: Run, document: str) -> None:
    answer = await run(document)

    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}


async def test_missing_database_is_unavailable_and_its_message_is_kept(schema: LoomSchema) -> None:
    away = Database.open("mongodb://127.0.0.1:1/?directConnection=true", "loomql", timeout_seconds=0.2)

    result = await schema.execute(
        '{ call(projectId: "a/b", id: "0000000000000000") { id } }', context_value=Context(Stores(away))
    )
    away.close()

    [error] = result.errors or []
    assert error.extensions == {"code": "UNAVAILABLE", "retryAfterSeconds": 1}
    assert "127.0.0.1" not in error.message


async def test_unexpected_error_is_masked_and_logged_under_its_id(
    schema: LoomSchema, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Context(stores=None)  # type: ignore[arg-type]  # the fault that nobody expects

    with caplog.at_level(logging.ERROR, "loomql"):
        result = await schema.execute('{ call(projectId: "a/b", id: "0123456789abcdef") { id } }', context_value=broken)

    [error] = result.errors or []
    assert (error.extensions or {})["code"] == "INTERNAL"
    assert "NoneType" not in error.message
    assert (error.extensions or {})["id"] in error.message
    assert (error.extensions or {})["id"] in caplog.text
    assert "AttributeError" in caplog.text


def test_argument_paths_are_in_camel_case() -> None:
    assert camel_path("batch.3.start.trace_id") == "batch.3.start.traceId"
