"""Empty stores for a demo that loads in a quarter of the time."""

import pytest

from app import demo
from graphql_schema.context import Stores


@pytest.fixture
def fresh(fresh: Stores, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """Return empty stores that only this test uses. A load writes a part of the calls."""
    monkeypatch.setattr(demo, "THREADS", 10)
    return fresh
