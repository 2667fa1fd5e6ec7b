"""Fixtures of stores of refs and tables over the test's database."""

import pytest

from stores.database import Database
from stores.refs.store import RefsStore
from stores.tables import TablesStore, documents


@pytest.fixture
def refs(database: Database) -> RefsStore:
    """Return a store of refs over `database`."""
    return RefsStore(database)


@pytest.fixture
def tables(database: Database) -> TablesStore:
    """Return a store of tables over `database`."""
    return TablesStore(database)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set chunks of 2 to 8 rows, so that few rows make many chunks."""
    monkeypatch.setattr(documents, "MIN_CHUNK_ROWS", 2)
    monkeypatch.setattr(documents, "MAX_CHUNK_ROWS", 8)
    monkeypatch.setattr(documents, "_END_EVERY", 4)
