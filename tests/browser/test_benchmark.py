"""The benchmark of the Explorer runs through on few calls, and measures each of its cases."""

import pytest

from tests.benchmarks import explorer, spans


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load and convert few calls, count frames for a short time, and do not wait until the server settles the calls."""
    monkeypatch.setattr(spans, "TEMPLATES", 20)
    monkeypatch.setattr(explorer, "prepared", lambda loom, _uri, _size: loom)
    monkeypatch.setattr(explorer, "LARGE", 600)
    monkeypatch.setattr(explorer, "_SECONDS_OF_FRAMES", 0.5)


@pytest.mark.usefixtures("chromium")  # which skips the test without a browser
async def test_each_case_is_measured() -> None:
    section = await explorer.measure(calls=1_600, rounds=1, live=1_000, live_minutes=0.02)

    times = {name: row.loomql_ms for name, row in section.items() if row.loomql_ms is not None}
    seen = {name: row.seen for name, row in section.items() if row.loomql_ms is None}
    assert len(times) == 5
    assert len(seen) == 3
    assert all(time > 0 for time in times.values())
    # The page may take no more memory than before.
    assert seen.pop("memory with live rows, MB more") is not None
    assert all(number is not None and number > 0 for number in seen.values()), seen
