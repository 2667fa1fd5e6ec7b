"""A store of feedback over the test's database, for queries of calls by their feedback."""

import pytest

from stores.database import Database
from stores.feedback import FeedbackStore


@pytest.fixture
def feedback(database: Database) -> FeedbackStore:
    """Return a store of feedback over `database`."""
    return FeedbackStore(database)
