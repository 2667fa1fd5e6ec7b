"""The store of runs over a real database."""

import pytest

from stores.database import Database
from stores.evaluations import EvaluationsStore
from stores.tables import TablesStore


@pytest.fixture
def evaluations(database: Database) -> EvaluationsStore:
    """A store of runs over `database`."""
    return EvaluationsStore(database)


@pytest.fixture
def tables(database: Database) -> TablesStore:
    """A store of tables over `database`."""
    return TablesStore(database)
