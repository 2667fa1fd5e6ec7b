"""What calls used of models: the counts in their summaries, as they were sent and as sums and prices take them.

A call keeps, under `usage`, for each model that its summary names one entry of whole counts from 0, all there:

    model              the name under which the summary has it
    prompt_tokens      `prompt_tokens`, or `input_tokens` where that is absent or 0
    completion_tokens  `completion_tokens`, or `output_tokens` where that is absent or 0
    requests           `requests`
    total_tokens       `total_tokens`, or prompt and completion together where that is absent or 0

Where the total is such a sum, `total_is_sum` is true: costs report what was sent, which is 0 then.

The two names of a count are never added up: where both are sent they mostly tell the same tokens twice. Counts of
cached tokens, which some providers price apart, stay in the summary alone. What is no whole number from 0 to 2^63 - 1
is as good as absent, and a sum beyond that is that. `total_tokens` of the call is the sum over its models.
"""

from typing import Any, Final, TypeGuard

from stores.json_shape import INT64

Usage = dict[str, Any]
"""An entry of what a call keeps."""

COUNTS: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "requests", "total_tokens")

TOTAL_IS_SUM: Final = "total_is_sum"

_MOST: Final = INT64 - 1


def by_model(summary: object) -> dict[str, dict[str, Any]]:
    """What a summary says of each model, whatever it is; what is no JSON object says nothing."""
    sent = summary.get("usage") if isinstance(summary, dict) else None
    if not isinstance(sent, dict):
        return {}
    return {model: counts for model, counts in sent.items() if isinstance(counts, dict)}


def sent_counts(counts: dict[str, Any]) -> dict[str, int]:
    """The counts of a model as they were sent; what is no whole number of 64 bits is left out."""
    return {name: int(counts[name]) for name in COUNTS if _is_whole(counts.get(name))}


def kept_usage(summary: object) -> dict[str, Any]:
    """The fields that a call keeps of its summary's usage; none where no model is named."""
    usage = [_kept(model, counts) for model, counts in by_model(summary).items()]
    if not usage:
        return {}
    return {"usage": usage, "total_tokens": min(sum(entry["total_tokens"] for entry in usage), _MOST)}


def _kept(model: str, counts: dict[str, Any]) -> Usage:
    prompt = _count(counts, "prompt_tokens") or _count(counts, "input_tokens")
    completion = _count(counts, "completion_tokens") or _count(counts, "output_tokens")
    total, sum_of_both = _count(counts, "total_tokens"), min(prompt + completion, _MOST)
    kept = {
        "model": model,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "requests": _count(counts, "requests"),
        "total_tokens": total or sum_of_both,
    }
    return kept | {TOTAL_IS_SUM: True} if sum_of_both and not total else kept


def _count(counts: dict[str, Any], name: str) -> int:
    sent = counts.get(name)
    if type(sent) is int:  # as nearly all are
        return sent if 0 <= sent <= _MOST else 0
    return max(int(sent), 0) if sent is not None and _is_whole(sent) else 0


def _is_whole(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == value // 1 and -INT64 <= value < INT64
