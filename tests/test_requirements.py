"""Tests that a missing requirement skips a test with a reason, and fails it in CI."""

import re
from pathlib import Path

import pytest

from app.commands.diagnostics import OTHER_VARIABLES
from tests.installation import ROOT
from tests.requirements import go_without


def test_missing_requirement_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOMQL_REQUIRE_LUCK", raising=False)

    with pytest.raises(pytest.skip.Exception, match="no luck"):
        go_without("no luck", "LOOMQL_REQUIRE_LUCK")


def test_missing_requirement_fails_if_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMQL_REQUIRE_LUCK", "1")

    with pytest.raises(pytest.fail.Exception, match="no luck"):
        go_without("no luck", "LOOMQL_REQUIRE_LUCK")


def test_ci_requires_every_optional_tool() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").glob("**/*.py") if path != Path(__file__)]
    variables = {name for text in sources for name in re.findall(r"\bLOOMQL_REQUIRE_[A-Z0-9]+\b", text)}
    exported = re.findall(r"\b(LOOMQL_REQUIRE_[A-Z0-9]+)=1\b", (ROOT / ".ci" / "run").read_text())

    assert variables == set(exported) == {name for name in OTHER_VARIABLES if "REQUIRE" in name}
    assert len(variables) == 6
