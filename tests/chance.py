"""Seeds and case counts of randomised tests.

A usual run tries a quarter of the cases. LOOMQL_TEST_TIMES=1 tries all, as `.ci/run --all` does, and 10 ten times as
many. LOOMQL_TEST_SEED sets the seed. Some tests assert how many generated cases are useful; this is known to hold only
for the default seed.
"""

import os
from typing import Final

import pytest

_USUAL: Final = 1
SEED: Final = int(os.environ.get("LOOMQL_TEST_SEED", _USUAL))
IS_USUAL: Final = SEED == _USUAL
_GIVEN: Final = os.environ.get("LOOMQL_TEST_TIMES")
_TIMES: Final = float(_GIVEN) if _GIVEN else 1 / 4
takes_minutes: Final = pytest.mark.skipif(
    _TIMES < 1, reason="takes minutes, so a usual run leaves it out: LOOMQL_TEST_TIMES=1 pytest"
)


def cases(number: int) -> int:
    """Return the number of cases to try, given the number of a run that tries all."""
    return max(1, round(number * _TIMES))
