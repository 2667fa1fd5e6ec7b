"""Fixtures for a feedback store over the test's own database."""

import pytest

from stores.database import Database
from stores.feedback import FeedbackStore


@pytest.fixture
def store(database: Database) -> FeedbackStore:
    return FeedbackStore(database)
