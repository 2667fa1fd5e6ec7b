"""Tests that a missing requirement skips a test with a reason, and fails it in CI."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.commands.diagnostics import OTHER_VARIABLES
from tests.installation import ROOT
from tests.requirements import go_without

PROBE = """
import pytest
@pytest.mark.parametrize("number", range(3))
def test_lucky(number):
    pytest.skip(f"no luck: apt-get install luck\\nfolder {number}")
@pytest.mark.skip(reason="no time")
def test_quick(): ...
"""


def test_missing_requirement_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOMQL_REQUIRE_LUCK", raising=False)

    with pytest.raises(pytest.skip.Exception, match="no luck"):
        go_without("no luck", "LOOMQL_REQUIRE_LUCK")


def test_missing_requirement_fails_if_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMQL_REQUIRE_LUCK", "1")

    with pytest.raises(pytest.fail.Exception, match="no luck"):
        go_without("no luck", "LOOMQL_REQUIRE_LUCK")


def test_run_ends_with_one_line_for_each_reason(tmp_path: Path) -> None:
    probe = tmp_path / "test_probe.py"
    probe.write_text(PROBE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), str(probe)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    summary = done.stdout.partition("skipped tests, by reason")[2]
    assert re.findall(r"^ +\d.*", summary, re.MULTILINE) == ["    3 no luck: apt-get install luck", "    1 no time"]


def test_ci_requires_every_optional_tool() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").glob("**/*.py") if path != Path(__file__)]
    variables = {name for text in sources for name in re.findall(r"\bLOOMQL_REQUIRE_[A-Z0-9]+\b", text)}
    exported = re.findall(r"\b(LOOMQL_REQUIRE_[A-Z0-9]+)=1\b", (ROOT / ".ci" / "run").read_text())

    assert variables == set(exported) == {name for name in OTHER_VARIABLES if "REQUIRE" in name}
    assert len(variables) == 6
