"""A store of feedback over the test's database, for calls that are asked by it."""

import pytest

from stores.database import Database
from stores.feedback import FeedbackStore


@pytest.fixture
def feedback(database: Database) -> FeedbackStore:
    """A store of feedback over `database`."""
    return FeedbackStore(database)
