"""Fixtures for a store of spans over the test's own database."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.json import codec
from stores.otel import OtelStore

PROJECT = "acme/spans"

Stored = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def otel(calls: CallsStore) -> OtelStore:
    return OtelStore(calls)


@pytest.fixture
def stored(database: Database) -> Stored:
    """Return a function that reads the documents of a project's calls by id, with their JSON decoded."""

    async def read(project_id: str = PROJECT) -> dict[str, Any]:
        found = {}
        async for document in database.calls.find({"project_id": project_id}).sort("started_at", 1):
            texts = {name: codec.loads(text.encode()) for name, text in document.get("json", {}).items()}
            found[document["id"]] = document | texts
        return found

    return read
