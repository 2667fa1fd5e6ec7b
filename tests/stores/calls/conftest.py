"""A store of tables over the test's database, for calls that refer to rows."""

import pytest

from stores.database import Database
from stores.tables import TablesStore


@pytest.fixture
def tables(database: Database) -> TablesStore:
    """Return a store of tables over `database`."""
    return TablesStore(database)
