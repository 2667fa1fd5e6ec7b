"""Seeds and case counts of randomised tests.

LOOMQL_TEST_SEED sets the seed and LOOMQL_TEST_TIMES multiplies the number of cases.
Some tests assert how many generated cases are useful; this is known to hold only for the default seed.
"""

import os
from typing import Final

_USUAL: Final = 1
SEED: Final = int(os.environ.get("LOOMQL_TEST_SEED", _USUAL))
IS_USUAL: Final = SEED == _USUAL
_TIMES: Final = int(os.environ.get("LOOMQL_TEST_TIMES", "1"))


def cases(number: int) -> int:
    """Return the number of cases to try, given the number that a default run tries."""
    return number * _TIMES
