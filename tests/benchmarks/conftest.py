"""Servers of the benchmarks' tests start at once and are measured briefly: tests check that there are numbers."""

import pytest

from tests.benchmarks import servers, sides


@pytest.fixture(autouse=True)
def forked_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork servers from a process that has imported LoomQL. A benchmark starts an interpreter for each."""
    monkeypatch.setattr(servers, "PROGRAM", ())


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each case once in a block."""
    monkeypatch.setattr(sides, "_BLOCK_SECONDS", 0.001)
