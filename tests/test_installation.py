"""Tests that concurrent processes install packages only once and that a failure is reported."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import installation
from tests.installation import FOR_FIXTURE, Installation

FIXTURE = "installed_by_a_test"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(installation, "_LOCKS", tmp_path / "locks")
    yield
    for made in FOR_FIXTURE.pop(FIXTURE):
        made.stop()


def counting(folder: Path, *, fails: int = 0) -> Installation:
    """Return an installation that appends a line to a file on each run and fails the first `fails` runs."""
    program = f"open('runs', 'a').write('run\\n'); print('no network'); exit(len(open('runs').readlines()) <= {fails})"
    return Installation(
        "counted", FIXTURE, folder / "mark", lambda: ["env", "-C", str(folder), sys.executable, "-c", program]
    )


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def test_install_by_another_process_is_awaited(tmp_path: Path) -> None:
    first, second = counting(tmp_path), counting(tmp_path)

    first.begin()
    second.begin()

    assert second.finish() == first.finish() == ""
    assert runs(tmp_path) == 1


def test_existing_install_is_not_repeated(tmp_path: Path) -> None:
    assert counting(tmp_path).finish() == ""

    later = counting(tmp_path)
    later.begin()

    assert later.finish() == ""
    assert runs(tmp_path) == 1


def test_failed_concurrent_install_is_retried(tmp_path: Path) -> None:
    flaky = counting(tmp_path, fails=1)

    flaky.begin()

    assert flaky.finish() == ""
    assert runs(tmp_path) == 2


def test_failed_install_has_a_reason(tmp_path: Path) -> None:
    assert counting(tmp_path, fails=9).finish() == "no network"


def test_cancelled_install_leaves_no_process(tmp_path: Path) -> None:
    slow = Installation("slow", FIXTURE, tmp_path / "mark", lambda: ["sleep", "600"])

    slow.begin()
    slow.stop()

    assert slow._process
    assert slow._process.returncode == -15
    assert not (tmp_path / "mark").exists()


def test_hanging_install_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_TIMEOUT_SECONDS", 0.1)
    hanging = Installation("hanging", FIXTURE, tmp_path / "mark", lambda: ["sh", "-c", "echo asking; exec sleep 600"])

    assert "given up after 0.1 seconds" in hanging.finish()
