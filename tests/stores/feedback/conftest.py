"""The store of feedback over a test's own database."""

import pytest

from stores.database import Database
from stores.feedback import FeedbackStore


@pytest.fixture
def store(database: Database) -> FeedbackStore:
    return FeedbackStore(database)
