"""What some tests need and a machine may lack: they are skipped there, but not where nothing may be skipped."""

import os
from typing import NoReturn

import pytest


def go_without(reason: str, variable: str) -> NoReturn:
    """Skip the test; fail it where the environment has 1 in the variable, as .ci/run does."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable} is 1)")
    pytest.skip(reason)
