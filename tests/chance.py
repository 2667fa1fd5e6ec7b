"""Seeds and case counts of randomised tests.

A usual run tries a quarter of the cases. LOOMQL_TEST_TIMES=1 tries all, as `.ci/run --all` does, and 10 ten times as
many. LOOMQL_TEST_SEED sets the seed. Some tests assert how many generated cases are useful; this is known to hold only
for the default seed.
"""

import os
from typing import Final

_USUAL: Final = 1
SEED: Final = int(os.environ.get("LOOMQL_TEST_SEED", _USUAL))
IS_USUAL: Final = SEED == _USUAL
_GIVEN: Final = os.environ.get("LOOMQL_TEST_TIMES")
_TIMES: Final = float(_GIVEN) if _GIVEN else 1 / 4
TRIES_ALL: Final = _TIMES >= 1


def cases(number: int) -> int:
    """Return the number of cases to try, given the number of a run that tries all."""
    return max(1, round(number * _TIMES))
