"""The stores that tests of evaluations write by."""

import pytest

from stores.database import Database
from stores.tables import TablesStore


@pytest.fixture
def tables(database: Database) -> TablesStore:
    """A store of tables over `database`."""
    return TablesStore(database)
