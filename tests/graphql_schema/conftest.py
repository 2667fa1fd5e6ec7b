"""The schema on a real database, and the answers of operations, including errors."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from app.settings import Settings
from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema, build_schema
from stores.database import Database
from stores.json import codec


class Answer(NamedTuple):
    """The data and the errors of an answer after serialisation to JSON, as a client reads them."""

    data: Any
    errors: list[dict[str, Any]]

    @property
    def code(self) -> str:
        """The code of the only error."""
        [error] = self.errors
        code: str = error["extensions"]["code"]
        return code


Run = Callable[..., Awaitable[Answer]]


@pytest.fixture(scope="session")
def schema() -> LoomSchema:
    """Return the schema with the default limits.

    With LOOMQL_COMPILED_EXECUTION=false, graphql-core runs every test.
    """
    return build_schema(Limits(), compiled=Settings().compiled_execution)


@pytest.fixture
def run(schema: LoomSchema, database: Database) -> Run:
    """Return a function that runs a document with variables and returns the answer as JSON."""
    return running(schema, Context(Stores(database)))


def running(schema: LoomSchema, context: Context) -> Run:
    """Return the function of `run` for any context."""

    async def run(document: str, **variables: Any) -> Answer:
        result = await schema.execute(document, variable_values=variables, context_value=context)
        body = {"data": result.data, "errors": [error.formatted for error in result.errors or ()]}
        return Answer(**json.loads(codec.dumps(body)))

    return run
