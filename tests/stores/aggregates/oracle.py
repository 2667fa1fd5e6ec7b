"""A simple model of aggregates in plain Python: it uses the calls as written, exact fractions and Python's calendar."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from stores.aggregates import Bucket, GroupBy, Grouping, UsageOf
from stores.calls import CallEnd, CallStart
from stores.times import from_datetime
from stores.usage.classes import FIELDS

Row = dict[str, Any]
Prices = Mapping[str, Mapping[str, float]]
"""Rates of all classes that the calls count, by model and by class."""
Pair = tuple[CallStart, CallEnd | None]

COUNTS = ("prompt_tokens", "completion_tokens", "requests", "total_tokens")
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
CLASSES = {"cache_read": "cache_read_tokens", "reasoning": "reasoning_tokens"}
"""Classes that the calls count, each with the name of its count in rows."""


def aggregate(pairs: Sequence[Pair], grouping: Grouping, usage_of: UsageOf, prices: Prices) -> list[Row]:
    """Return the rows with all numbers, sorted by time and then by the other keys, nulls last."""
    usages = {start.id: reported(end) for start, end in pairs}
    groups: dict[tuple[Any, ...], list[tuple[Pair, dict[str, Row]]]] = {}
    for pair in pairs:
        usage = own(pair, pairs, usages) if usage_of is UsageOf.OWN else usages[pair[0].id]
        models: list[str | None] = list(usage) if grouping.by_model else [None]
        for model in models or [None]:
            counted = {model: usage[model]} if grouping.by_model and model else {} if grouping.by_model else usage
            key = tuple(_key(by, pair, model, grouping) for by in grouping.by)
            groups.setdefault(key, []).append((pair, counted))
    rows = [
        dict(zip((by.value for by in grouping.by), key, strict=True)) | _numbers(group, prices)
        for key, group in groups.items()
    ]
    order = sorted(grouping.by, key=lambda by: by is not GroupBy.TIME_BUCKET)
    return sorted(rows, key=lambda row: [(row[by] is None, row[by]) for by in order])


def reported(end: CallEnd | None) -> dict[str, Row]:
    """Return the usage that an end reports for each model; a missing total is the sum of its parts."""
    sent: Any = end.summary if end else {}
    return {
        model: {
            **{name: counts[name] for name in ("prompt_tokens", "completion_tokens", "requests")},
            "total_tokens": _total(counts),
            "cache_read": counts.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            "reasoning": counts.get("completion_tokens_details", {}).get("reasoning_tokens", 0),
        }
        for model, counts in sent.get("usage", {}).items()
    }


def _total(counts: Row) -> int:
    return int(counts["prompt_tokens"] + counts["completion_tokens"])


def own(pair: Pair, pairs: Sequence[Pair], usages: dict[str | None, dict[str, Row]]) -> dict[str, Row]:
    """Return the usage of the call itself, without its children's."""
    start, end = pair
    summary: Any = end.summary if end else {}
    calls = sum(summary.get("status_counts", {}).values())
    if calls > 1:
        return {}
    if calls == 1:
        return usages[start.id]
    children = [usages[child.id] for child, _ in pairs if child.parent_id == start.id]
    found = {}
    for model, counts in usages[start.id].items():
        theirs = [child[model] for child in children if model in child]
        beyond = {name: counts[name] - sum(their[name] for their in theirs) for name in COUNTS}
        tokens = [beyond[name] for name in TOKENS]
        if not theirs or min(tokens) < 0:  # a sum of the children's usage would be no smaller than its parts
            found[model] = counts
        elif any(tokens):
            found[model] = {name: max(0, number) for name, number in beyond.items()} | _classes_beyond(counts, theirs)
    return found


def _classes_beyond(counts: Row, theirs: Sequence[Row]) -> Row:
    """Return the token classes beyond the children's; all are 0 if one, or the unclassed rest, would be negative."""
    beyond = {name: value - sum(their[name] for their in theirs) for name, value in counts.items()}
    plain = beyond["prompt_tokens"] - beyond["cache_read"], beyond["completion_tokens"] - beyond["reasoning"]
    if min(*plain, *(beyond[name] for name in CLASSES)) < 0:
        return dict.fromkeys(CLASSES, 0)
    return {name: beyond[name] for name in CLASSES}


def _key(by: GroupBy, pair: Pair, model: str | None, grouping: Grouping) -> object:
    start, end = pair
    match by:
        case GroupBy.MODEL:
            return model
        case GroupBy.STATUS:
            return "running" if end is None else status(end)
        case GroupBy.OP_NAME:
            return start.op_name.rpartition("/")[2].partition(":")[0] if "///" in start.op_name else start.op_name
        case GroupBy.OP_VERSION:
            return start.op_name
        case GroupBy.TIME_BUCKET:
            return bucket_start(start.started_at, grouping)
        case _:
            return getattr(start, by.value, None)  # the random calls have none of the other columns


def status(end: CallEnd) -> str:
    """Return the status of an ended call."""
    summary: Any = end.summary
    if end.exception:
        return "error"
    return "descendant_error" if summary.get("status_counts", {}).get("error", 0) else "success"


def bucket_start(micros: int, grouping: Grouping) -> int:
    """Return the first microsecond of the bucket, by the local time of the zone."""
    zone = ZoneInfo(grouping.timezone or "UTC")
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).astimezone(zone)
    hour = moment.replace(minute=0, second=0, microsecond=0)  # keeps fold, for the repeated hour
    day = hour.replace(hour=0, fold=0)
    cut: dict[Bucket | None, Callable[[], datetime]] = {
        Bucket.MINUTE: lambda: moment.replace(second=0, microsecond=0),
        Bucket.HOUR: lambda: hour,
        Bucket.DAY: lambda: day,
        Bucket.WEEK: lambda: day - timedelta(days=day.weekday()),
        Bucket.MONTH: lambda: day.replace(day=1),
    }
    return from_datetime(cut[grouping.bucket]())


def _numbers(group: list[tuple[Pair, dict[str, Row]]], prices: Prices) -> Row:
    ended = [((end.ended_at - start.started_at) // 1000) for (start, end), _ in group if end]
    errors = sum(bool(end and end.exception) for (_, end), _ in group)
    entries = [(model, counts) for _, usage in group for model, counts in usage.items()]
    costs = [cost(model, counts, prices) for model, counts in entries if model in prices]
    return {
        "count": len(group),
        "error_count": errors,
        "error_rate": errors / len(group),
        "mean_latency_ms": float(Fraction(sum(ended), len(ended))) if ended else None,
        "min_latency_ms": min(ended, default=None),
        "max_latency_ms": max(ended, default=None),
        **{f"p{percent}_latency_ms": percentile(ended, percent) for percent in (50, 95, 99)},
        **{name: sum(counts[name] for _, counts in entries) for name in COUNTS},
        **dict.fromkeys(FIELDS.values(), 0),
        **{field: sum(counts[name] for _, counts in entries) for name, field in CLASSES.items()},
        "uncached_input_tokens": sum(counts["prompt_tokens"] - counts["cache_read"] for _, counts in entries),
        "cost": float(sum(costs)) if costs else None,
        "unpriced_tokens": sum(counts["total_tokens"] for model, counts in entries if model not in prices),
    }


def cost(model: str, counts: Row, prices: Prices) -> Fraction:
    """Return the exact cost of a usage entry."""
    rates = {name: Fraction(repr(rate)) for name, rate in prices[model].items()}
    cached, reasoning = counts["cache_read"], counts["reasoning"]
    total: Fraction = (
        (counts["prompt_tokens"] - cached) * rates["input"]
        + cached * rates["cache_read"]
        + (counts["completion_tokens"] - reasoning) * rates["output"]
        + reasoning * rates["reasoning"]
    )
    return total


def percentile(values: Sequence[int], percent: int) -> float | None:
    """Return the percentile, interpolated between the two nearest values."""
    if not values:
        return None
    ordered = sorted(values)
    place = Fraction(percent * (len(values) - 1), 100)
    lower = ordered[math.floor(place)]
    return float(lower + (place - math.floor(place)) * (ordered[math.ceil(place)] - lower))
