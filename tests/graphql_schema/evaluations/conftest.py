"""Stores for tests of evaluations."""

import pytest

from stores.database import Database
from stores.tables import TablesStore


@pytest.fixture
def tables(database: Database) -> TablesStore:
    """Return a store of tables on `database`."""
    return TablesStore(database)
