"""Tests that all code passes the linter, the formatter, the type checker and the check of import directions."""

import pytest

from tests.house_checks import CHECKS
from tests.shared_by_workers import house_checks


@pytest.mark.parametrize("name", CHECKS)
def test_code_passes_every_check(pytestconfig: pytest.Config, name: str) -> None:
    found = house_checks(pytestconfig).complaints(name)

    assert not found, found
