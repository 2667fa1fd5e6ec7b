"""A store of completions that calls a stand-in instead of OpenAI."""

import pytest

from app.providers import EnvironmentProviders
from stores.calls import CallsStore
from stores.completions import CompletionsStore
from stores.database import Database
from stores.objects import ObjectsStore


@pytest.fixture
def completions(
    database: Database, objects: ObjectsStore, calls: CallsStore, providers: EnvironmentProviders
) -> CompletionsStore:
    """Return a store of completions over `database`."""
    return CompletionsStore(database, objects, calls, providers)
