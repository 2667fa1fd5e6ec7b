"""The usage of models that calls keep: counts that sums and prices take, whatever a summary's writer sent.

A call keeps, under `usage`, for each model that its summary names one entry:

    model              the name under which the summary has it
    prompt_tokens      all tokens of the input, with those of a cache; the total where the sender states that alone, as
                       of an embedding
    completion_tokens  all tokens of the output, with reasoning
    requests           `requests`
    total_tokens       `total_tokens` as sent; prompt and completion together where that is absent, 0 or excludes some
    classes            the counts above 0 of the classes of `stores.usage.classes` but for `input` and `output`, by
                       name; absent where there are none
    stated_cost        the cost in US dollars that the writer states, a double; absent where it states none
    sums_up            true where the call sums up others and does not say of how many requests; absent elsewhere

Counts are whole numbers from 0 to 2^63 - 1. Where the total is such a sum, `total_is_sum` is true: costs report the
total as sent, which is 0 then. `stores.usage.rules` says how the counts of each sender are read. `total_tokens` of the
call is the sum over its models. What is no whole number from 0 to 2^63 - 1 is as good as absent, and a sum beyond that
is that.
"""

from typing import Any, Final, TypeGuard

from stores.json.inspection import INT64
from stores.usage.counts import by_class
from stores.usage.rules import CLASS_COUNTS, MOST, STATED_COST, THOUGHTS, split_usage, totals_thoughts, whole_count

Usage = dict[str, Any]
"""An entry of what a call keeps."""

COUNTS: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "requests", "total_tokens")

TOTAL_IS_SUM: Final = "total_is_sum"
SUMS_UP: Final = "sums_up"

_PLAIN: Final = frozenset(COUNTS)
"""A model's usage with no other members needs no rule."""


def by_model(summary: object) -> dict[str, dict[str, Any]]:
    """What a summary says of each model, whatever it is; what is no JSON object says nothing."""
    sent = summary.get("usage") if isinstance(summary, dict) else None
    if not isinstance(sent, dict):
        return {}
    return {model: counts for model, counts in sent.items() if isinstance(counts, dict)}


def sent_counts(counts: dict[str, Any]) -> dict[str, int]:
    """The counts of a model as they were sent; what is no whole number of 64 bits is left out."""
    return {name: int(counts[name]) for name in COUNTS if _is_whole(counts.get(name))}


def kept_usage(summary: object, *, sums_up: bool = False) -> dict[str, Any]:
    """The fields that a call keeps of its summary's usage, which may sum up others; none where no model is named."""
    usage = [kept_entry(model, counts) for model, counts in by_model(summary).items()]
    if not usage:
        return {}
    if sums_up:
        usage = [entry if entry["requests"] else entry | {SUMS_UP: True} for entry in usage]
    return {"usage": usage, "total_tokens": min(sum(entry["total_tokens"] for entry in usage), MOST)}


def kept_entry(model: str, sent: dict[str, Any]) -> Usage:
    """The entry that a call keeps of what its summary says of a model."""
    entry = _read_entry(model, sent)
    rest = entry["total_tokens"] - entry["prompt_tokens"] - entry["completion_tokens"]
    if rest > 0 and totals_thoughts(model):
        classes = entry.get("classes", {})
        if THOUGHTS not in classes:
            entry["completion_tokens"] += rest
            entry["classes"] = classes | {THOUGHTS: rest}
    return entry


def _read_entry(model: str, sent: dict[str, Any]) -> Usage:
    requests = whole_count(sent.get("requests"))
    if sent.keys() <= _PLAIN:
        prompt = whole_count(sent.get("prompt_tokens")) or whole_count(sent.get("input_tokens"))
        completion = whole_count(sent.get("completion_tokens")) or whole_count(sent.get("output_tokens"))
        total, both = whole_count(sent.get("total_tokens")), min(prompt + completion, MOST)
        kept = _entry(model, prompt, completion, requests, total or both)
        return kept | {TOTAL_IS_SUM: True} if both and not total else kept
    parts, stated_cost = split_usage(sent)
    kept = _entry(model, parts.prompt, parts.completion, requests, parts.total)
    if parts.is_sum:
        kept[TOTAL_IS_SUM] = True
    if parts.classes:
        kept["classes"] = parts.classes
    if stated_cost is not None:
        kept[STATED_COST] = stated_cost
    return kept


def has_several_requests(entry: Usage) -> bool:
    """Whether an entry may sum several requests, none of which need be as long as all together."""
    return entry.get("requests", 0) > 1 or SUMS_UP in entry


def stated_entry(entry: Usage) -> dict[str, Any]:
    """The counts, classes and cost of an entry as a summary states them: `kept_entry` reads the entry out of it."""
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


def _entry(model: str, prompt: int, completion: int, requests: int, total: int) -> Usage:
    return {
        "model": model,
        "prompt_tokens": prompt if prompt or completion else total,
        "completion_tokens": completion,
        "requests": requests,
        "total_tokens": total,
    }


def _is_whole(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == value // 1 and -INT64 <= value < INT64
