"""The schema on a real database, with the stand-in instead of OpenAI."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from app.providers import EnvironmentProviders
from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores.database import Database
from stores.json import codec
from tests.graphql_schema.conftest import Answer


@pytest.fixture
async def stores(database: Database, providers: EnvironmentProviders) -> AsyncIterator[Stores]:
    stores = Stores(database, providers)
    yield stores
    await stores.close()


Ask = Callable[..., Awaitable[Answer]]
Follow = Callable[..., AsyncGenerator[Answer, None]]


@pytest.fixture
def ask(schema: LoomSchema, stores: Stores) -> Ask:
    """Return a function that runs a document with variables and returns the answer as JSON."""

    async def ask(document: str, **variables: Any) -> Answer:
        result = await schema.execute(document, variable_values=variables, context_value=Context(stores))
        return _read(result)

    return ask


@pytest.fixture
def follow(schema: LoomSchema, stores: Stores) -> Follow:
    """Return a function that runs a subscription; it unsubscribes when closed."""

    async def follow(document: str, **variables: Any) -> AsyncGenerator[Answer, None]:
        results = await schema.stream(document, variable_values=variables, context_value=Context(stores))
        async with aclosing(results):
            async for result in results:
                yield _read(result)

    return follow


def _read(result: Any) -> Answer:
    body = {"data": result.data, "errors": [error.formatted for error in result.errors or ()]}
    return Answer(**json.loads(codec.dumps(body)))
