"""Copied calls have the same content as their templates and times of their own; streaming reads all calls."""

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from stores.database import indexes
from tests.benchmarks import loading
from tests.benchmarks.growth import stream_all
from tests.benchmarks.servers import server
from tests.benchmarks.stock import BEGIN, SECOND

COUNT = 2500


def test_copied_calls_have_their_own_ids(
    mongodb_uri: str, database_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "TEMPLATES", 1000)
    loading.load_copies(mongodb_uri, database_name, COUNT)

    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        found = list(client[database_name]["calls"].find(sort={"started_at": 1}))
        assert len(client[database_name]["calls"].index_information()) == 1 + len(indexes.models()["calls"])
    assert [call["started_at"] for call in found] == [BEGIN + number * SECOND for number in range(COUNT)]
    assert len({call["id"] for call in found}) == COUNT
    assert found[2345]["json"] == found[345]["json"]
    assert found[2345]["ended_at"] - found[2345]["started_at"] == found[345]["ended_at"] - found[345]["started_at"]
    with server(tmp_path, mongodb_uri, database_name) as started:
        row = stream_all(started, COUNT)
        assert row.seen == pytest.approx(started.most_memory_mib(), rel=0.2)
        with pytest.raises(AssertionError, match="calls came"):
            stream_all(started, COUNT + 1)
