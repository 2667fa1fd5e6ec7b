"""Fixtures of stores over the test's database."""

import pytest

from stores.database import Database
from stores.evaluations import EvaluationsStore
from stores.tables import TablesStore


@pytest.fixture
def evaluations(database: Database) -> EvaluationsStore:
    """Return a store of evaluations over `database`."""
    return EvaluationsStore(database)


@pytest.fixture
def tables(database: Database) -> TablesStore:
    """Return a store of tables over `database`."""
    return TablesStore(database)
