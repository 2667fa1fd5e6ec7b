"""A store of files over the test's database."""

import pytest

from stores.database import Database
from stores.files import FilesStore


@pytest.fixture
def files(database: Database) -> FilesStore:
    """Return a store of files over `database`."""
    return FilesStore(database)
