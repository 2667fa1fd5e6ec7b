"""A small benchmark of events: every expected message arrives, from the server and from the floor."""

from pathlib import Path

import pytest

from tests.benchmarks import live
from tests.benchmarks.live import measure_live
from tests.benchmarks.live_watchers import Watched


def test_every_event_of_every_subscriber_is_measured(
    mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = tuple(Watched("acme/live", f"op{number}") for number in range(2))
    # With this many calls, the writer sends some alone and some in batches.
    spread = live.Spread("apart", groups, rate=150, is_whole=False)
    monkeypatch.setattr(live, "spreads", lambda _subscribers: [spread])

    section = measure_live(tmp_path, mongodb_uri, seconds=0.3, subscribers=4)

    row, from_sending = section["apart (p99)"], section["apart, from the write's sending (p99)"]
    for number in (row.loomql_ms, row.floor_ms):
        # The number is infinite if a message is missing; an event may arrive before the answer to its write.
        assert number is not None
        assert -60_000 < number < 60_000
    for number in (from_sending.loomql_ms, from_sending.floor_ms):
        assert number is not None
        assert 0 < number < 60_000
    assert row.a_second is not None
    assert 0 < row.a_second < 2 * 2 * 150 + 1
