"""Counts and charts in plain Python over all stored calls, which roll-ups must equal at any time."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from random import Random
from typing import Any

from stores import times
from stores.aggregates import AggregatesStore, Bucket, GroupBy, Grouping, UsageOf
from stores.calls import CallsStore
from stores.calls.fields import CallsFilter
from stores.database import Database, Document
from stores.projects import ProjectsStore
from stores.query import Query
from tests.stores.aggregates.oracle import bucket_start
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
ZONES = (None, "UTC", "Europe/Berlin", "Asia/Kolkata")
BUCKETS = (None, None, Bucket.HOUR, Bucket.DAY, Bucket.WEEK, Bucket.MONTH)

Question = tuple[CallsFilter, Query | None, Callable[[Document], bool]]


def random_question(rng: Random, started: Iterable[int]) -> Question:
    """Return a filter, a query, and both as a predicate in Python; half of them are bounded in time."""
    near = [*started, 0]
    low, high = sorted(rng.choice(near) + rng.choice((-1, 0, 1, 1_800 * times.SECOND)) for _ in range(2))
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
        chart = await aggregates.calls(PROJECT, grouping, METRICS, calls_filter, query, usage_of=UsageOf.REPORTED)
        shown = [tuple(row[name] for name in (*(key.value for key in by), *METRICS)) for row in chart.rows]
        assert sorted(shown, key=repr) == sorted(_chart(expected, grouping), key=repr), (grouping, asked)
    return rolled_up


def _chart(calls: list[Document], grouping: Grouping) -> list[tuple[Any, ...]]:
    groups: dict[tuple[Any, ...], list[Document]] = {} if grouping.by else {(): []}
    for call in calls:
        key = tuple(
            bucket_start(call["started_at"], grouping) if each is GroupBy.TIME_BUCKET else call.get(KEYS[each])
            for each in grouping.by
        )
        groups.setdefault(key, []).append(call)
    return [(*key, *_numbers(group)) for key, group in groups.items()]


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
