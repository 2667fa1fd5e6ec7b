"""What tests of the running service share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder with a short path, as sockets need it; it does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="loomql-") as parent:
        yield Path(parent) / "data"
