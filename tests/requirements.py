"""Requirements that a machine may lack: tests skip without them, except in CI."""

import os
from typing import NoReturn

import pytest


def go_without(reason: str, variable: str) -> NoReturn:
    """Skip the test, or fail it if the environment variable is 1, as .ci/run sets it."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable} is 1)")
    pytest.skip(reason)
