"""Fixtures for an actions store over the test's own database. Its judges call a stand-in provider."""

import pytest

from app.providers import EnvironmentProviders
from stores.actions import ActionsStore
from stores.calls import CallsStore
from stores.completions import CompletionsStore
from stores.database import Database
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore


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
