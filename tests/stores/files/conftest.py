"""A store of files, and what is left in the database behind it."""

import pytest

from stores.database import Database
from stores.files import FilesStore


@pytest.fixture
def files(database: Database) -> FilesStore:
    """A store of files over `database`."""
    return FilesStore(database)
