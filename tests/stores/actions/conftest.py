"""The store of actions over a test's own database, its judges behind the stand-in provider."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.providers import EnvironmentProviders
from stores.actions import ActionsStore
from stores.calls import CallsStore
from stores.completions import CompletionsStore
from stores.database import Database
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from tests.stand_in_provider import KEY, StandIn, stand_in_provider


@pytest.fixture
def provider() -> Iterator[StandIn]:
    """The provider of all models."""
    with stand_in_provider() as stand_in:
        yield stand_in


@pytest.fixture
async def providers(provider: StandIn) -> AsyncIterator[EnvironmentProviders]:
    """The port to it."""
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.base_url}
    providers = EnvironmentProviders(environment)
    yield providers
    await providers.close()


@pytest.fixture
def feedback(database: Database) -> FeedbackStore:
    return FeedbackStore(database)


@pytest.fixture
def actions(
    database: Database,
    calls: CallsStore,
    objects: ObjectsStore,
    feedback: FeedbackStore,
    providers: EnvironmentProviders,
) -> ActionsStore:
    completions = CompletionsStore(database, objects, calls, providers)
    return ActionsStore(calls, objects, feedback, completions)
