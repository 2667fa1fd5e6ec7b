"""The cases of exports measure a rate, a latency and memory."""

from pathlib import Path

import pytest

from tests.benchmarks import exports
from tests.benchmarks.exports import measure_exports
from tests.benchmarks.loading import load_stock
from tests.benchmarks.servers import server


def test_export_and_a_concurrent_client_are_measured(
    mongodb_uri: str, database_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_stock(mongodb_uri, database_name, 600)
    monkeypatch.setattr(exports, "_ALONE_SECONDS", 0.2)

    with server(tmp_path, mongodb_uri, database_name) as loomql:
        section = measure_exports(loomql, 600, 1)

    exported, listed, memory = section.values()
    assert exported.must == "a second >= 20000"
    assert exported.a_second is not None
    assert exported.a_second > 0
    assert (listed.must, bool(listed.loomql_ms), bool(listed.floor_ms)) == ("ratio <= 2", True, True)
    assert memory.seen is not None
    assert memory.seen > 20
