"""Scope of the usage a call reports: only its own, or that of its whole subtree.

Weave's Python client sums up: a call with child calls reports the sum of their usage and nothing of its own. Its
`status_counts` reveal this, because each call counts itself: a sum above one means that the call sums up, one that it
reports only for itself. Without these counts the scope is unclear. Most OpenTelemetry spans report only for themselves,
but those of some agents sum up (some state it, see `stores.otel.usage`), and so does Weave's TypeScript client. Unclear
scopes are resolved by comparison with the children's usage: see `stores.aggregates.own_usage`.
"""

import math
from typing import Final

OWN: Final = "own"
SUM: Final = "sum"
UNCLEAR: Final = "unclear"


def usage_scope(summary: object) -> str:
    """Return the scope of a summary's usage: `OWN`, `SUM` or `UNCLEAR`; accepts any value."""
    counts = summary.get("status_counts") if isinstance(summary, dict) else None
    if not isinstance(counts, dict):
        return UNCLEAR
    calls = math.fsum(number for number in counts.values() if _is_count(number))
    if calls == 1:
        return OWN
    return SUM if calls > 1 else UNCLEAR


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 63
