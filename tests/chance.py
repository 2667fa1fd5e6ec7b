"""Chance in tests: the same in each run, or, by LOOMQL_TEST_SEED, another; LOOMQL_TEST_TIMES as many cases."""

import os
from typing import Final

SEED: Final = int(os.environ.get("LOOMQL_TEST_SEED", "1"))
_TIMES: Final = int(os.environ.get("LOOMQL_TEST_TIMES", "1"))


def cases(number: int) -> int:
    """How many cases to try where a run of all tests takes so many."""
    return number * _TIMES
