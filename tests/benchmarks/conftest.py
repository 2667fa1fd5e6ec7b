"""Servers of the benchmarks' tests start at once: the tests check that there are numbers, not which."""

import pytest

from tests.benchmarks import servers


@pytest.fixture(autouse=True)
def forked_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork servers from a process that has imported LoomQL. A benchmark starts an interpreter for each."""
    monkeypatch.setattr(servers, "PROGRAM", ())
