"""Usage entries of calls: normalized counts for sums and prices, whatever the sender wrote in the summary.

A call stores one entry under `usage` for each model in its summary:

    model              name in the summary
    prompt_tokens      all input tokens, including cached ones; the total if the sender reports only a total, as for an
                       embedding
    completion_tokens  all output tokens, including reasoning
    requests           `requests`
    total_tokens       `total_tokens` as sent; prompt plus completion if it is missing, 0 or excludes some tokens
    classes            non-zero counts of the classes of `stores.usage.classes` except `input` and `output`, by name;
                       absent if there are none
    stated_cost        cost in US dollars that the sender states, a double; absent if it states none
    sums_up            true if the call sums up others without the number of requests; absent otherwise

Counts are integers from 0 to 2^63 - 1. Other values count as missing, and larger sums are clamped. If the total was not
sent, `total_is_sum` is true and costs report the total as sent, 0. `stores.usage.rules` defines how each sender's
counts are read. `total_tokens` of the call is the sum over its models.

The scope of a call's usage says whether it is the call's own, or that of its whole subtree. Weave's Python client sums
up: a call with child calls reports the sum of their usage and nothing of its own. Its `status_counts` reveal this,
because each call counts itself: a sum above one means that the call sums up, one that it reports only for itself.
Without these counts the scope is unclear. Most OpenTelemetry spans report only for themselves, but those of some agents
sum up (some state it, see `stores.otel.usage`), and so does Weave's TypeScript client. Unclear scopes are resolved by
comparison with the children's usage: see `stores.usage.own`.
"""

import math
from typing import Any, Final, TypeGuard

from stores.json.bson_copy import INT64
from stores.usage.classes import by_class
from stores.usage.rules import CLASS_COUNTS, MOST, STATED_COST, THOUGHTS, split_usage, totals_thoughts, whole_count

Usage = dict[str, Any]
"""A usage entry of a call."""

COUNTS: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "requests", "total_tokens")

TOTAL_IS_SUM: Final = "total_is_sum"
SUMS_UP: Final = "sums_up"

OWN: Final = "own"

SUM: Final = "sum"

UNCLEAR: Final = "unclear"


def by_model(summary: object) -> dict[str, dict[str, Any]]:
    """Return a summary's usage by model; empty if the summary has no valid usage."""
    sent = summary.get("usage") if isinstance(summary, dict) else None
    if not isinstance(sent, dict):
        return {}
    return {model: counts for model, counts in sent.items() if isinstance(counts, dict)}


def sent_counts(counts: dict[str, Any]) -> dict[str, int]:
    """Return the counts of a model as sent, without values that are not 64-bit integers."""
    return {name: int(counts[name]) for name in COUNTS if _is_whole(counts.get(name))}


def kept_usage(summary: object, *, sums_up: bool = False) -> dict[str, Any]:
    """Return the fields that a call stores for its summary's usage; empty if no model is named.

    With `sums_up` the call sums up other calls.
    """
    usage = [kept_entry(model, counts) for model, counts in by_model(summary).items()]
    if not usage:
        return {}
    if sums_up:
        usage = [entry if entry["requests"] else entry | {SUMS_UP: True} for entry in usage]
    return {"usage": usage, "total_tokens": min(sum(entry["total_tokens"] for entry in usage), MOST)}


def kept_entry(model: str, sent: dict[str, Any]) -> Usage:
    """Build the entry that a call stores for a model's usage."""
    parts, stated_cost = split_usage(sent)
    entry: Usage = {
        "model": model,
        "prompt_tokens": parts.prompt if parts.prompt or parts.completion else parts.total,
        "completion_tokens": parts.completion,
        "requests": whole_count(sent.get("requests")),
        "total_tokens": parts.total,
    }
    if parts.is_sum:
        entry[TOTAL_IS_SUM] = True
    if parts.classes:
        entry["classes"] = parts.classes
    if stated_cost is not None:
        entry[STATED_COST] = stated_cost
    rest = entry["total_tokens"] - entry["prompt_tokens"] - entry["completion_tokens"]
    if rest > 0 and totals_thoughts(model):
        classes = entry.get("classes", {})
        if THOUGHTS not in classes:
            entry["completion_tokens"] += rest
            entry["classes"] = classes | {THOUGHTS: rest}
    return entry


def has_several_requests(entry: Usage) -> bool:
    """Return True if an entry may sum several requests, each shorter than the whole."""
    return entry.get("requests", 0) > 1 or SUMS_UP in entry


def stated_entry(entry: Usage) -> dict[str, Any]:
    """Convert an entry to the format of summaries; `kept_entry` is the inverse."""
    stated = {name: entry[name] for name in ("prompt_tokens", "completion_tokens")}
    if entry["requests"]:
        stated = {"requests": entry["requests"], **stated}
    if not entry.get(TOTAL_IS_SUM):
        stated["total_tokens"] = entry["total_tokens"]
    if "classes" in entry:
        stated[CLASS_COUNTS] = by_class(entry)
    if STATED_COST in entry:
        stated["cost"] = entry[STATED_COST]
    return stated


def _is_whole(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == value // 1 and -INT64 <= value < INT64


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
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < INT64
