"""Empty stores for a demo that loads in a third of the time."""

import pytest

from app import demo
from graphql_schema.context import Stores


@pytest.fixture
def fresh(fresh: Stores, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """Return empty stores that only this test uses. A load writes a third of the calls."""
    monkeypatch.setattr(demo, "THREADS", 20)
    return fresh
