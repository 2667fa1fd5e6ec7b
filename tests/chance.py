"""Chance in tests: the same in each run, or, by LOOMQL_TEST_SEED, another; LOOMQL_TEST_TIMES as many cases.

How much of what was tried is worth something, which some tests assert, is known of the usual seed alone.
"""

import os
from typing import Final

_USUAL: Final = 1
SEED: Final = int(os.environ.get("LOOMQL_TEST_SEED", _USUAL))
IS_USUAL: Final = SEED == _USUAL
_TIMES: Final = int(os.environ.get("LOOMQL_TEST_TIMES", "1"))


def cases(number: int) -> int:
    """How many cases to try where a run of all tests takes so many."""
    return number * _TIMES
