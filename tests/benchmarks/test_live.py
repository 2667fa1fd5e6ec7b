"""The measuring of events, in small: every message that should come does, from the server and from the floor."""

from pathlib import Path

import pytest

from tests.benchmarks import live
from tests.benchmarks.live import measure_live
from tests.benchmarks.live_watchers import Watched


def test_every_event_of_every_subscriber_is_measured(
    mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = tuple(Watched("acme/live", f"op{number}") for number in range(2))
    spread = live.Spread("apart", groups, rate=20, is_whole=False)
    monkeypatch.setattr(live, "spreads", lambda _subscribers: [spread])

    section = measure_live(tmp_path, mongodb_uri, seconds=0.5, subscribers=4)

    row = section["apart (p99)"]
    # Infinite, if one had not come.
    assert row.loomql_ms is not None
    assert row.floor_ms is not None
    assert 0 < row.floor_ms < 60_000
    assert 0 < row.loomql_ms < 60_000
    assert row.a_second is not None
    assert 10 < row.a_second < 100
