"""Counts and charts in plain Python over all stored calls, which roll-ups must equal at any time."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from stores import times
from stores.aggregates import AggregatesStore, Bucket, GroupBy, Grouping, UsageOf
from stores.aggregates.metrics import PERCENTILES
from stores.calls import CallsStore
from stores.calls.fields import CallsFilter
from stores.database import Database, Document
from stores.projects import ProjectsStore
from stores.query import Query
from stores.rollups.sketches import ERROR
from stores.usage import own
from stores.usage.classes import FIELDS
from tests.stores.aggregates.oracle import bucket_start, percentile
from tests.stores.calls.builders import PROJECT

TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens", "requests")
METRICS = ("count", "error_count", "error_rate", "min_latency_ms", "max_latency_ms", "mean_latency_ms", *TOKENS)
KEYS = {
    GroupBy.OP_NAME: "op_trace_name",
    GroupBy.OP_VERSION: "op_name",
    GroupBy.STATUS: "status",
    GroupBy.KIND: "kind",
    GroupBy.PROVIDER: "provider",
}
COSTS = ("cost", "unpriced_tokens")
CHARTS = (
    TOKENS,
    ("count", "total_tokens", *FIELDS.values()),
    (*METRICS, *FIELDS.values()),
    ("max_latency_ms", "requests"),
    COSTS,
    (*METRICS, *COSTS),
)
"""Metrics of charts of usage."""
ZONES = (None, "UTC", "Europe/Berlin", "Asia/Kolkata")
BUCKETS = (None, None, Bucket.HOUR, Bucket.DAY, Bucket.WEEK, Bucket.MONTH)

Question = tuple[CallsFilter, Query | None, Callable[[Document], bool]]


LATENCIES = ("count", "min_latency_ms", "max_latency_ms", *PERCENTILES)


def random_question(rng: Random, started: Iterable[int]) -> Question:
    """Return a filter, a query, and both as a predicate in Python; half of them are bounded in time."""
    near = [*started, 0]
    low, high = sorted(rng.choice(near) + rng.choice((-1, 0, 1, 1_800 * times.SECOND)) for _ in range(2))
    if rng.random() < 0.3:
        anything = CallsFilter(started_after=rng.choice((None, low)))
        return anything, None, anything.test(PROJECT)
    calls_filter = CallsFilter(
        op_names=rng.choice((None, None, ["search"], ["answer", "nowhere"])),
        trace_roots_only=rng.choice((None, None, True)),
        statuses=rng.choice((None, None, ["success", "running"])),
        kinds=rng.choice((None, None, ["tool"])),
        providers=rng.choice((None, None, ["OpenAI"])),
        errors_only=rng.choice((None, None, None, True)),
        started_after=rng.choice((None, None, low)),
        started_before=rng.choice((None, None, high + 2)),
    )
    passes = calls_filter.test(PROJECT)
    if rng.random() < 0.5:
        return calls_filter, None, passes
    # A float has no microseconds of these years.
    since = {"$gte": [{"$getField": "started_at"}, {"$literal": times.to_text(low)}]}
    is_error = {"$eq": [{"$getField": "status"}, {"$literal": "error"}]}
    query = Query({"$expr": {"$and": [since, {"$not": [is_error]}]}})
    return calls_filter, query, lambda call: passes(call) and call["started_at"] >= low and call["status"] != "error"


async def assert_exact(database: Database, rng: Random, questions: int = 6) -> int:
    """Compare answers with those of the model; return how many counts were read from roll-ups.

    No call may change meanwhile.
    """
    calls, aggregates = CallsStore(database), AggregatesStore(database)
    stored = await database.calls.find({"project_id": PROJECT, "visible": True}).to_list(None)
    projects = ProjectsStore(database)
    sizes = await projects.sizes([PROJECT], frozenset({"trace_storage_size_bytes"}))
    assert sizes[PROJECT] == {"trace_storage_size_bytes": sum(call["storage_size_bytes"] for call in stored)}
    assert await projects.count_calls([PROJECT, "acme/none"]) == {PROJECT: len(stored), "acme/none": 0}
    rolled_up = 0
    for _ in range(questions):
        calls_filter, query, passes = random_question(rng, (call["started_at"] for call in stored))
        expected = [call for call in stored if passes(call)]
        plan = await calls.explain(PROJECT, calls_filter, query=query)
        rolled_up += plan.counts_by_rollups
        asked = calls_filter, query
        assert await calls.count(PROJECT, calls_filter, query) == len(expected), asked
        limit = rng.randrange(1, len(expected) + 2)
        assert await calls.count(PROJECT, calls_filter, query, limit=limit) == min(limit, len(expected)), asked
        assert (await calls.stats(PROJECT, {"count"}, calls_filter, 3, query)).count == min(3, len(expected)), asked
        bucket = rng.choice(BUCKETS)
        by = [*rng.sample(list(KEYS), rng.randrange(3)), *([GroupBy.TIME_BUCKET] if bucket else [])]
        grouping = Grouping(by, bucket, rng.choice(ZONES) if bucket else None)
        metrics = rng.choice(
            (METRICS, METRICS[: METRICS.index(TOKENS[0])])
        )  # those of calls have documents of their own
        chart = await aggregates.calls(PROJECT, grouping, metrics, calls_filter, query, usage_of=UsageOf.REPORTED)
        shown = [tuple(row[name] for name in (*(key.value for key in by), *metrics)) for row in chart.rows]
        rows = [row[: len(by) + len(metrics)] for row in _chart(expected, grouping)]
        assert sorted(shown, key=repr) == sorted(rows, key=repr), (grouping, asked)
        near = await aggregates.calls(PROJECT, grouping, [*PERCENTILES], calls_filter, query)
        assert near.num_groups == len(chart.rows)
        groups = _groups(expected, grouping)
        for row in near.rows:
            group = groups[tuple(row[key.value] for key in by)]
            latencies = [call["latency_ms"] for call in group if "latency_ms" in call]
            for name, each in PERCENTILES.items():
                assert_near(row[name], latencies, each.percent)
        await _assert_as_read(aggregates, rng, calls_filter, query)
    return rolled_up


def assert_near(found: float | None, values: Sequence[int], percent: int) -> None:
    """Assert that a percentile is interpolated between neighbours that are within 1 %."""
    exact = percentile(values, percent)
    if exact is None or found is None:
        assert found is exact
        return
    ordered = sorted(values)
    rank, hundredths = divmod(percent * (len(values) - 1), 100)
    lower, upper = ordered[rank], ordered[min(rank + 1, len(values) - 1)]
    error = ERROR * (abs(lower) * (100 - hundredths) + abs(upper) * hundredths) / 100
    assert abs(found - exact) <= error + abs(exact) * 1e-12, (percent, ordered)
    assert ordered[0] <= found <= ordered[-1], (percent, ordered)


async def _assert_as_read(
    aggregates: AggregatesStore, rng: Random, calls_filter: CallsFilter, query: Query | None
) -> None:
    """Compare a chart of usage with that of the same calls that are read one by one."""
    bucket = rng.choice(BUCKETS)
    by = [*rng.sample([GroupBy.MODEL, GroupBy.MODEL, *KEYS], 1), *([GroupBy.TIME_BUCKET] if bucket else [])]
    grouping = Grouping(by, bucket, rng.choice(ZONES) if bucket else None)
    wanted, usage_of = rng.choice(CHARTS), rng.choice((UsageOf.OWN, UsageOf.OWN, UsageOf.REPORTED))
    # No roll-up has ids.
    has_id = {"$not": [{"$eq": [{"$getField": "id"}, {"$literal": "none"}]}]}
    by_calls = Query({"$expr": {"$and": [has_id, query.tree["$expr"]]} if query else has_id})
    chart, read = [
        await aggregates.calls(PROJECT, grouping, wanted, calls_filter, each, usage_of=usage_of)
        for each in (query, by_calls)
    ]
    assert chart == read, (grouping, wanted, usage_of, calls_filter, query)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(own, "FEW", 0)  # otherwise children are looked up
        read = await aggregates.calls(PROJECT, grouping, wanted, calls_filter, by_calls, usage_of=usage_of)
    assert read == chart, (grouping, wanted, usage_of, calls_filter, query)
    await _assert_near_as_read(aggregates, grouping, calls_filter, query, usage_of)


async def _assert_near_as_read(
    aggregates: AggregatesStore, grouping: Grouping, calls_filter: CallsFilter, query: Query | None, usage_of: UsageOf
) -> None:
    near, exact = [
        await aggregates.calls(
            PROJECT, grouping, LATENCIES, calls_filter, query, usage_of=usage_of, exact_percentiles=is_exact
        )
        for is_exact in (False, True)
    ]
    keys = ["count", "min_latency_ms", "max_latency_ms", *(key.value for key in grouping.by)]
    for row, right in zip(near.rows, exact.rows, strict=True):
        assert [row[key] for key in keys] == [right[key] for key in keys]
        greatest = max(abs(right["min_latency_ms"] or 0), abs(right["max_latency_ms"] or 0))
        for name in PERCENTILES:
            expected = None if right[name] is None else pytest.approx(right[name], abs=ERROR * greatest)
            assert row[name] == expected, (grouping, name)


def _chart(calls: list[Document], grouping: Grouping) -> list[tuple[Any, ...]]:
    return [(*key, *_numbers(group)) for key, group in _groups(calls, grouping).items()]


def _groups(calls: list[Document], grouping: Grouping) -> dict[tuple[Any, ...], list[Document]]:
    groups: dict[tuple[Any, ...], list[Document]] = {} if grouping.by else {(): []}
    for call in calls:
        key = tuple(
            bucket_start(call["started_at"], grouping) if each is GroupBy.TIME_BUCKET else call.get(KEYS[each])
            for each in grouping.by
        )
        groups.setdefault(key, []).append(call)
    return groups


def _numbers(calls: list[Document]) -> tuple[Any, ...]:
    errors = sum(call["status"] == "error" for call in calls)
    latencies = [call["latency_ms"] for call in calls if "latency_ms" in call]
    return (
        len(calls),
        errors,
        float(Fraction(errors, len(calls))) if calls else None,
        min(latencies, default=None),
        max(latencies, default=None),
        float(Fraction(sum(latencies), len(latencies))) if latencies else None,
        *(sum(entry[name] for call in calls for entry in call.get("usage", ())) for name in TOKENS),
    )
