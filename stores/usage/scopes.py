"""Whose usage a call reports: its own, or that of all calls below it, too.

Weave's client for Python sums up: a call that made others reports the sum of what they report, and nothing of its own
beside it. It tells by `status_counts`, in which each call counts itself: more than one means that the call sums up,
one that it speaks for itself alone. Without such counts it stays unclear: spans of OpenTelemetry mostly speak for
themselves, those of some agents sum up (some say so, see `stores.otel.usage`), and so does Weave's client for
TypeScript. What is unclear is settled by
comparison with what the call's children report: see `stores.aggregates.own_usage`.
"""

import math
from typing import Final

OWN: Final = "own"
SUM: Final = "sum"
UNCLEAR: Final = "unclear"


def usage_scope(summary: object) -> str:
    """Whose usage a summary reports: `OWN`, `SUM` or `UNCLEAR`, whatever it is."""
    counts = summary.get("status_counts") if isinstance(summary, dict) else None
    if not isinstance(counts, dict):
        return UNCLEAR
    calls = math.fsum(number for number in counts.values() if _is_count(number))
    if calls == 1:
        return OWN
    return SUM if calls > 1 else UNCLEAR


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 63
