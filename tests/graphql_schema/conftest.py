"""The schema over a real database: what an operation answers, errors and all."""

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
    """What a client reads of an answer, after a trip through JSON."""

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
    """The schema, with the default limits; LOOMQL_COMPILED_EXECUTION=false runs every test graphql-core's own way."""
    return build_schema(Limits(), compiled=Settings().compiled_execution)


@pytest.fixture
def run(schema: LoomSchema, database: Database) -> Run:
    """Runs a document with variables, as a client's JSON carries both."""
    return running(schema, Context(Stores.for_database(database)))


def running(schema: LoomSchema, context: Context) -> Run:
    """What `run` gives, over any stores."""

    async def run(document: str, **variables: Any) -> Answer:  # noqa: ANN401 -- any JSON
        result = await schema.execute(document, variable_values=variables, context_value=context)
        body = {"data": result.data, "errors": [error.formatted for error in result.errors or ()]}
        return Answer(**json.loads(codec.dumps(body)))

    return run
