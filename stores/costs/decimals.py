"""Decimal arithmetic of costs, the same as MongoDB's Decimal128, so Python and pipelines compute identical digits.

A double such as 0.000001 is rarely the decimal number it is written as: five times it prints as
0.0000049999999999999996. So costs are computed from the decimal text of rates and become doubles only at the end.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final

from bson import Decimal128

_DECIMAL128: Final = Context(prec=34, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, clamp=1)

ZERO: Final = Decimal(0)

plus: Final = _DECIMAL128.add
minus: Final = _DECIMAL128.subtract
times: Final = _DECIMAL128.multiply


@lru_cache(10_000)
def exact(number: float) -> Decimal:
    """Return the decimal number of a double's shortest text."""
    return Decimal(repr(number))


def in_pipeline(number: Decimal) -> Decimal128:
    """Convert a number to a BSON value."""
    return Decimal128(number)
