"""A short run of mixed load; `python -m tests.load` runs longer and reports times."""

from pathlib import Path

import pytest

from tests.fuzz.watching import failures
from tests.load import run
from tests.load.counting import counted_server
from tests.load.report import report
from tests.load.run import Run
from tests.load.state import leaks

SECONDS = 2
STOCK_CALLS = 500
MOST_GROWTH_MIB = 120


async def test_full_load_makes_no_errors_and_leaves_nothing_open(
    own_mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_STOCK_CALLS", STOCK_CALLS)
    with counted_server(tmp_path, own_mongodb_uri, "load") as server:  # its connections are counted
        outcome = await Run(server, own_mongodb_uri, SECONDS).go()
        logged = failures(server.output.read_text(errors="replace"))
    text = report(outcome)
    print(text)  # noqa: T201 - shown where it fails

    assert not outcome.errors, text
    assert not logged, text
    assert not leaks(outcome.before, outcome.after), text
    assert outcome.after.memory - outcome.before.memory < MOST_GROWTH_MIB, text
    assert all(outcome.steps.values()), text
    assert outcome.events > 0
