"""Tests that a check of all code fails if its tool complains, crashes or is missing."""

from pathlib import Path

import pytest

from tests import house_checks
from tests.house_checks import HouseChecks

CHECKS = {
    "complains": (["sh", "-c", "echo line 1 is wrong; exit 1"], "line 1 is wrong\n"),
    "exits": (["sh", "-c", "exit 3"], "exits ended with 3"),
    "is killed": (["sh", "-c", "kill -9 $$"], "is killed ended with -9"),
    "absent": (["no-such-linter"], "absent cannot start: [Errno 2] No such file or directory: 'no-such-linter'"),
    "passes": (["sh", "-c", "echo all is well"], ""),
}


def test_check_that_does_not_pass_complains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_checks, "CHECKS", {name: command for name, (command, _) in CHECKS.items()})
    monkeypatch.setattr(house_checks, "TIMEOUT_SECONDS", 30)
    checks = HouseChecks(tmp_path)
    checks.begin()

    assert {name: checks.complaints(name) for name in CHECKS} == {name: text for name, (_, text) in CHECKS.items()}
