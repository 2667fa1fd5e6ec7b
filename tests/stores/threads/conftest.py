import pytest

from stores.database import Database
from stores.threads import ThreadsStore


@pytest.fixture
def threads(database: Database) -> ThreadsStore:
    """Return a store of threads over `database`."""
    return ThreadsStore(database)
