"""The documents of roll-ups.

A roll-up counts the visible calls of one project that started in one hour or on one day (UTC), and that agree in all
`DIMENSIONS`. It has the fields of calls by the same names, so a match or a group key over calls also works over
roll-ups: `started_at` is the start of the hour or the day, and `parent_id` is missing for roots. Calls with usage are
unwound, so a roll-up has one usage entry, or none. There are three families of roll-ups, and `of` names those that one
belongs to:

    calls      each call once: calls without usage, and the first entries of calls with usage
    reported   each entry of the usage that calls report, and each call without one
    own        each entry of calls' own usage (`stores.usage.own`), and each call without one

Most roll-ups belong to all three. `usage` of a roll-up has the sums of its entries by the names of an entry, and
besides these `least` and `most`, the least and most tokens of an entry that select a tier, and `tier`, the number of
tokens that all of these exceed, if that selects a tier of a shipped price. `model_column` is the model of calls that
report no usage.

Besides `VALUES`, a roll-up has the sketch of its `latencies` (`sketches`), which is missing if no call has ended.

An hour or a day also has one document that counts all its calls once, without dimensions and usage, of a unit of
`TOTALS`: most charts over time need no more.

An hour with calls whose children may have reported the same usage also has a document with their ids, of the unit
`PARENTS`. So the own usage of any other call of the hour is what it reports, and no query looks up its children.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from stores.database import Document
from stores.hours import DAY, DAYS, HOURS
from stores.rollups.sketches import Sketch, bucket_expression
from stores.usage.classes import STORED
from stores.usage.entries import SUMS_UP
from stores.usage.own import OF_CHILDREN

MAX_GROUPS: Final = 5_000
"""Roll-ups of one hour or day; one that needs more is read from its calls, or its hours."""

DIMENSIONS: Final = ("op_name", "op_trace_name", "status", "kind", "provider", "model")
"""Fields whose values a roll-up shares with its calls; `parent_id` only tells roots from other calls."""

MODEL_COLUMN: Final = "model_column"
"""Field with the model column of a call that reports no usage."""

CALLS: Final = "calls"
REPORTED: Final = "reported"
OWN: Final = "own"
"""Names of the families."""

HOURS_OF_CHILDREN: Final = "hours_of_children"

TOTALS: Final = {HOURS: "total of hour", DAYS: "total of day"}
"""Units of the documents that count all calls of an hour or a day."""

PARENTS: Final = "parents"
"""Unit of the document with an hour's calls of which children report usage, too; and its field with their ids."""

_HAS_LATENCY: Final = {"$isNumber": "$latency_ms"}

VALUES: Final[dict[str, Document]] = {
    "count": {"$sum": 1},
    "error_count": {"$sum": {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}},
    "ended": {"$sum": {"$cond": [_HAS_LATENCY, 1, 0]}},
    "latency": {"$sum": "$latency_ms"},
    "least": {"$min": "$latency_ms"},
    "most": {"$max": "$latency_ms"},
    "storage_size_bytes": {"$sum": "$storage_size_bytes"},
}
"""The values of calls in a roll-up, as accumulators over calls."""

_ALWAYS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "requests")
_COUNTS: Final = {name: (name,) for name in _ALWAYS} | {name: ("classes", name) for name in STORED}
"""The counts of a usage entry, each with its path."""

_TIER_TOKENS: Final = {
    "$cond": [{"$or": [{"$gt": ["$usage.requests", 1]}, f"$usage.{SUMS_UP}"]}, 0, "$usage.prompt_tokens"]
}
"""The tokens of an entry that select its tier, as `stores.costs.price_timeline.tier_tokens` returns them."""

Tiers = Mapping[str, Sequence[int]]
"""For models with tiers, the numbers of prompt tokens above which a tier applies."""

LATENCIES: Final = "latencies"
"""Name of the field with the sketch."""


def merged_value(name: str) -> Document:
    """Return the accumulator that merges the values of several roll-ups."""
    [accumulator] = VALUES[name]
    return {accumulator: f"${name}"}


def with_buckets(keys: object, values: Document) -> list[Document]:
    """Build the stages that group calls by keys, with the number of latencies per bucket as parts of a sketch."""
    by_bucket = {"of": keys, "at": bucket_expression("$latency_ms")}
    part = {"at": "$_id.at", "n": "$ended"}
    merged = {name: dict.fromkeys(value, f"${name}") for name, value in values.items()}
    return [
        {"$group": {"_id": by_bucket, **values, "ended": VALUES["ended"]}},
        {"$group": {"_id": "$_id.of", **merged, LATENCIES: {"$push": part}}},
    ]


def rollups_of_calls(found: Sequence[Document], tiers: Tiers, has_other_own: object) -> list[Document]:
    """Build the stages that roll up the calls that `found` returns by reported usage.

    `has_other_own` is an expression that is true for calls whose own usage may differ: they are of other families.
    """
    families = {"is_first": {"$lte": ["$entry", 0]}, "has_other_own": has_other_own}  # null sorts below numbers
    keys = {MODEL_COLUMN: {"$cond": ["$usage", "$$REMOVE", "$model"]}, **families}
    of = [{"$cond": ["$_id.is_first", [CALLS], []]}, {"$cond": ["$_id.has_other_own", [], [OWN]]}, [REPORTED]]
    unset = {f"_id.{name}": "$$REMOVE" for name in families}
    return [
        *found,
        {"$unwind": {"path": "$usage", "includeArrayIndex": "entry", "preserveNullAndEmptyArrays": True}},
        *_grouped_calls(keys, tiers),
        {"$set": {"_id.of": {"$concatArrays": of}}},
        {"$set": unset},
        *_FLAT,
    ]


def rollups_of_own_usage(with_own_usage: Sequence[Document], tiers: Tiers) -> list[Document]:
    """Build the stages that roll up calls with their own usage in place of the reported one.

    Each row also has lists of the hours of children, under `HOURS_OF_CHILDREN`.
    """
    unwound = {"$unwind": {"path": "$usage", "preserveNullAndEmptyArrays": True}}
    grouped = _grouped_calls({}, tiers, {HOURS_OF_CHILDREN: {"$addToSet": f"${OF_CHILDREN}"}})
    of_buckets = {"input": f"${HOURS_OF_CHILDREN}", "initialValue": [], "in": {"$setUnion": ["$$value", "$$this"]}}
    shown = {"_id.of": [OWN], HOURS_OF_CHILDREN: {"$reduce": of_buckets}}
    return [*with_own_usage, unwound, *grouped, {"$set": shown}, *_FLAT]


_FLAT: Final[list[Document]] = [{"$replaceWith": {"$mergeObjects": ["$$ROOT", "$_id"]}}, {"$unset": "_id"}]

READ: Final = (*DIMENSIONS, "parent_id", "latency_ms", "storage_size_bytes", "usage")
"""Fields of calls that roll-ups need."""


def _grouped_calls(keys: Document, tiers: Tiers, further: Document | None = None) -> list[Document]:
    is_child = {"$ne": [{"$ifNull": ["$parent_id", None]}, None]}
    exceeded = [
        {
            "case": {"$eq": ["$usage.model", {"$literal": model}]},
            "then": {"$max": [{"$cond": [{"$gt": [_TIER_TOKENS, above]}, above, None]} for above in bounds]},
        }
        for model, bounds in tiers.items()
    ]
    dimensions = {
        **{name: f"${name}" for name in DIMENSIONS},
        **keys,
        "parent_id": {"$cond": [is_child, True, "$$REMOVE"]},
        "usage_model": "$usage.model",
        **({"usage_tier": {"$switch": {"branches": exceeded, "default": None}}} if exceeded else {}),
    }
    least_and_most = {"usage_least": {"$min": _TIER_TOKENS}, "usage_most": {"$max": _TIER_TOKENS}}
    values = {**VALUES, **_SUMS, **least_and_most, **(further or {})}
    return [*with_buckets(dimensions, values), {"$limit": MAX_GROUPS + 1}]


_SUMS: Final[dict[str, Document]] = {
    f"usage_{name}": {"$sum": f"$usage.{'.'.join(path)}"} for name, path in _COUNTS.items()
}


def rollups_of_hours(project_id: str, day: int) -> list[Document]:
    """Build the stages that merge the roll-ups of a day's hours."""
    match = {"project_id": project_id, "unit": HOURS, "started_at": {"$gte": day, "$lt": day + DAY}}
    dimensions = {name: f"${name}" for name in (*DIMENSIONS, "parent_id", MODEL_COLUMN, "of")}
    dimensions |= {"usage_model": "$usage.model", "usage_tier": "$usage.tier"}
    values = {name: merged_value(name) for name in VALUES}
    least_and_most = {"usage_least": {"$min": "$usage.least"}, "usage_most": {"$max": "$usage.most"}}
    sketches = {LATENCIES: {"$push": f"${LATENCIES}"}}
    group = {"$group": {"_id": dimensions, **values, **_SUMS, **least_and_most, **sketches}}
    return [{"$match": match}, group, {"$limit": MAX_GROUPS + 1}, *_FLAT]


def are_storable(rows: Sequence[Document]) -> bool:
    """Return True if there are few enough rows, and their counts are exact: sums of MongoDB beyond 64 bits are not."""
    return len(rows) <= MAX_GROUPS and not any(
        isinstance(row[f"usage_{name}"], float) for row in rows for name in _COUNTS
    )


def stored_rollups(project_id: str, unit: str, start: int, rows: list[Document]) -> list[Document]:
    """Return the documents to store for the roll-ups of an hour or a day, whose `latencies` are parts of sketches."""
    key = {"project_id": project_id, "unit": unit, "started_at": start}
    rollups = [
        {"_id": f"{project_id}:{unit}:{start}:{number}", **key, **_with_entry(row)} for number, row in enumerate(rows)
    ]
    total = {"_id": f"{project_id}:{unit}:{start}:total", **key, "unit": TOTALS[unit], **_total(rows)}
    return [*rollups, total] if rows else []


_MERGES: Final[dict[str, Callable[[list[Any]], Any]]] = {"$sum": sum, "$min": min, "$max": max}


def _total(rows: Sequence[Document]) -> Document:
    """Return the values of all calls of some rows, as a roll-up has them."""
    counted = [row for row in rows if CALLS in row["of"]]
    total: Document = {"of": [CALLS]}
    for name, accumulator in VALUES.items():
        values = [row[name] for row in counted if row[name] is not None]
        total[name] = _MERGES[next(iter(accumulator))](values) if values else None
    sketch = Sketch().add([part for row in counted for part in row[LATENCIES]]).stored()
    return total | ({LATENCIES: sketch} if sketch else {})


def stored_parents(project_id: str, hour: int, parents: Iterable[str]) -> Document:
    """Return the document of the calls of an hour of which children report usage, too."""
    key = {"project_id": project_id, "unit": PARENTS, "started_at": hour}
    return {"_id": f"{project_id}:{PARENTS}:{hour}", **key, PARENTS: sorted(parents)}


def _with_entry(row: Document) -> Document:
    """Return a row with its usage as an entry of calls has it, and with the sketch that is the sum of its parts."""
    row = {**row}
    sketch = Sketch().add(row.pop(LATENCIES)).stored()
    row |= {LATENCIES: sketch} if sketch else {}
    usage: Document = {name: row.pop(f"usage_{name}", None) for name in ("model", "tier", "least", "most")}
    for name, path in _COUNTS.items():
        count = row.pop(f"usage_{name}")
        if len(path) == 1:
            usage[name] = count
        elif count:
            usage.setdefault(path[0], {})[name] = count
    shown = {name: value for name, value in usage.items() if value is not None}
    return row | {"usage": shown} if usage["model"] is not None else row
