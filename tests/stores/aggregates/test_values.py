"""Tests of aggregates by values at any path and of numbers at any path, against a model in plain Python."""

import math
from collections import defaultdict
from itertools import product
from random import Random
from typing import Any, Final

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores.aggregates import AggregatesStore, Bucket, GroupBy, Grouping
from stores.aggregates.call_values import MAX_FIELDS, MAX_TEXT
from stores.aggregates.metrics import NUMBER_METRICS
from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.json import codec
from stores.query import Query
from stores.query.sort import SortBy
from tests.stores.aggregates.oracle import percentile
from tests.stores.calls.builders import NOON, PROJECT, SECOND, end, start
from tests.stores.feedback.builders import call_ref, feedback, note

Json = Any

LABELS: Final[tuple[Json, ...]] = (
    "good",
    "bad",
    "",
    "$good",
    1,
    1.0,
    0.5,
    True,
    False,
    None,
    ["good", "bad", "good"],
    [],
    [None],
    {"x": 1},
)
SCORES: Final = (0, 1, 0.1, 0.2, 0.7, -3, 1e-9, 1 << 40, "0.5", True, None, [0.5], {"x": 0.5})
SCORE: Final = "feedback.[custom].payload.score"
NUMBERS: Final = ("output.score", "latencyMs", "total_cost", "inputs.a\\.b", SCORE)
USAGE: Final = {"usage": {"loom": {"prompt_tokens": 2, "completion_tokens": 4}}}

Call = dict[str, Json]


async def stored(database: Database, seed: int, count: int = 120) -> list[Call]:
    """Store random calls, some of them with feedback once or twice."""
    rng, found = Random(seed), []
    calls, feedbacks = CallsStore(database), FeedbackStore(database)
    await CostsStore(database).create(PROJECT, [NewCost("loom", 0.5, 0.25, effective_date=0)])
    for number in range(count):
        call: Call = {
            "op": rng.choice(("answer", "search")),
            "label": rng.choice(LABELS),
            "tags": rng.choice((["a", "b"], ["b"], "a", None)),
            "output.score": rng.choice(SCORES),
            "inputs.a\\.b": rng.choice((*SCORES, "$a")),
            "latencyMs": rng.choice((None, rng.randrange(5_000))),
            SCORE: None,
        }
        call["total_cost"] = 2.0 if call["latencyMs"] is not None and rng.random() < 0.5 else None
        attributes, inputs = {"meta": {"tags": call["tags"]}}, {"a.b": call["inputs.a\\.b"], "label": call["label"]}
        await calls.write([start(number, op_name=call["op"], attributes=attributes, inputs=inputs)])
        if call["latencyMs"] is None:
            call["output.score"] = None
        else:
            ended = NOON + number * SECOND + call["latencyMs"] * 1_000
            summary = USAGE if call["total_cost"] else {}
            output = {"score": call["output.score"]}
            await calls.write([end(number, ended_at=ended, output=output, summary=summary)])
        for _ in range(rng.choice((0, 1, 2))):
            call[SCORE] = rng.choice(SCORES)
            await feedbacks.create([feedback({"score": call[SCORE]}, weave_ref=call_ref(number))])
        found.append(call)
    return found


def groups_of(value: Json) -> list[str | None]:
    """Return the groups of a value, as JSON texts; None for the row of null."""
    members = value if isinstance(value, list) else [value]
    scalars = [each for each in members if each is not None and not isinstance(each, list | dict)]
    texts = {codec.encode(int(each) if each == 1.0 and each is not True else each) for each in scalars}
    return [*sorted(texts)] or [None]


def metrics_of(values: list[Json]) -> dict[str, Any]:
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    total = math.fsum(numbers)
    return {
        "count": len(numbers),
        "sum": total if numbers else None,
        "average": total / len(numbers) if numbers else None,
        "minimum": min(numbers, default=None),
        "maximum": max(numbers, default=None),
        **{f"p{percent}": exact_percentile(numbers, percent) for percent in (50, 95, 99)},
    }


def exact_percentile(numbers: list[float], percent: int) -> float | None:
    """Return the percentile of numbers that the model of whole numbers scales up."""
    scale = 1_000_000_000
    found = percentile([round(each * scale) for each in numbers], percent)
    return None if found is None else found / scale


def expected_rows(calls: list[Call], keys: tuple[str, ...]) -> dict[tuple[str | None, ...], dict[str, Any]]:
    groups = defaultdict(list)
    for call in calls:
        for group in product(*(groups_of(call[key]) for key in keys)):
            groups[group].append(call)
    return {
        group: {"count": len(members)} | {name: metrics_of([call[name] for call in members]) for name in NUMBERS}
        for group, members in groups.items()
    }


@pytest.mark.parametrize("seed", range(2))
async def test_groups_and_numbers_of_random_calls_equal_the_model(database: Database, seed: int) -> None:
    calls, store = await stored(database, seed), AggregatesStore(database)

    for paths, keys in (
        ((), ()),
        (("inputs.label",), ("label",)),
        (("attributes.meta.tags", "op_name"), ("tags", "op")),
        (("inputs.label", "attributes.meta.tags"), ("label", "tags")),
        ((SCORE,), (SCORE,)),
    ):
        wanted = ["count", "total_tokens", "cost"]
        found = await store.calls(PROJECT, Grouping(paths=paths), wanted, numbers=NUMBERS)
        assert_equal(found.rows, expected_rows(calls, keys))
        for row in found.rows:
            cost = row["numbers"][NUMBERS.index("total_cost")]
            assert (row["total_tokens"], row["cost"]) == (6 * cost["count"], cost["sum"])
        assert found.num_groups == len(found.rows)


async def test_very_large_groups_have_the_same_numbers(own_mongodb_uri: str) -> None:
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(own_mongodb_uri)
    database = Database(client, "values")
    await database.ensure_indexes()
    calls, store = await stored(database, 5), AggregatesStore(database)

    await client.admin.command("setParameter", 1, internalQueryMaxPushBytes=1)
    try:
        found = await store.calls(PROJECT, Grouping(paths=["inputs.label"]), ["count"], numbers=NUMBERS)
        with_latency = await store.calls(PROJECT, Grouping(), ["count", "p50_latency_ms"], numbers=["latencyMs"])
    finally:
        await client.admin.command("setParameter", 1, internalQueryMaxPushBytes=100 << 20)
        client.close()

    assert_equal(found.rows, expected_rows(calls, ("label",)))
    [row] = with_latency.rows
    assert row["count"] == len(calls)
    assert row["p50_latency_ms"] == row["numbers"][0]["p50"] == metrics_of([call["latencyMs"] for call in calls])["p50"]


def assert_equal(rows: list[dict[str, Any]], expected: dict[tuple[str | None, ...], dict[str, Any]]) -> None:
    found = {tuple(row.get("path_values", ())): row for row in rows}
    assert found.keys() == expected.keys()
    for group, right in expected.items():
        assert found[group]["count"] == right["count"], group
        for number in found[group]["numbers"]:
            metrics = right[number["field"]]
            assert number.keys() == metrics.keys() | {"field"}
            for name, value in metrics.items():
                is_equal = number[name] is None if value is None else number[name] == pytest.approx(value, rel=1e-12)
                assert is_equal, (group, name, number, metrics)


async def test_rows_are_sorted_by_values_and_numbers(database: Database) -> None:
    calls, store = await stored(database, 3), AggregatesStore(database)
    paths = ["inputs.label"]

    by_value = await store.calls(PROJECT, Grouping(paths=paths), ["count"])
    by_number = [
        await store.calls(
            PROJECT,
            Grouping(paths=paths),
            [],
            sort_by=[SortBy("output.score.average", descending), SortBy("inputs.label")],
            limit=3,
            numbers=["output.score"],
            wanted_of_numbers=[],
        )
        for descending in (False, True)
    ]

    values = [row["path_values"][0] for row in by_value.rows]
    assert values == ["0.5", "1", '""', '"$good"', '"bad"', '"good"', "false", "true", None]
    averages = {group[0]: row["output.score"]["average"] for group, row in expected_rows(calls, ("label",)).items()}
    ranked = sorted((each for each in values if averages[each] is not None), key=lambda each: averages[each] or 0)
    assert [row["path_values"][0] for row in by_number[0].rows] == ranked[:3]
    assert [row["path_values"][0] for row in by_number[1].rows] == ranked[::-1][:3]


async def test_own_usage_and_conditions_apply_to_rows_by_path(database: Database) -> None:
    calls = CallsStore(database)
    summed = {"usage": {"loom": {"prompt_tokens": 5, "completion_tokens": 0}}, "status_counts": {"success": 2}}
    own = {"usage": {"loom": {"prompt_tokens": 5, "completion_tokens": 0}}, "status_counts": {"success": 1}}
    await calls.write([start(1, inputs={"topic": "a"}), end(1, summary=summed)])
    await calls.write([start(2, inputs={"topic": "b"}), end(2, summary=own)])
    await FeedbackStore(database).create([note("seen", weave_ref=call_ref(2))])
    store = AggregatesStore(database)
    seen = Query({"$expr": {"$eq": [{"$getField": "feedback.[wandb.note.1].payload.note"}, {"$literal": "seen"}]}})

    both = await store.calls(PROJECT, Grouping([GroupBy.MODEL], paths=["inputs.topic"]), ["total_tokens"])
    one = await store.calls(PROJECT, Grouping(paths=["inputs.topic"]), ["total_tokens"], query=seen)

    assert [(row["model"], row["path_values"], row["total_tokens"]) for row in both.rows] == [
        ("loom", ['"b"'], 5),
        (None, ['"a"'], 0),
    ]
    assert [(row["path_values"], row["total_tokens"]) for row in one.rows] == [(['"b"'], 5)]


async def test_nothing_to_aggregate_is_a_row_of_nulls(database: Database) -> None:
    store = AggregatesStore(database)

    total = await store.calls(PROJECT, Grouping(), ["count"], numbers=["output.score"])
    groups = await store.calls(PROJECT, Grouping(paths=["output.score"]), ["count"], numbers=["output.score"])

    [row] = total.rows
    assert row["numbers"] == [{"field": "output.score", "count": 0} | dict.fromkeys(NUMBER_METRICS[1:])]
    assert (groups.rows, groups.num_groups) == ([], 0)


async def test_long_texts_are_grouped_by_their_start(calls: CallsStore, database: Database) -> None:
    for number, text in enumerate(("é" * MAX_TEXT, "é" * MAX_TEXT + "1", "é" * MAX_TEXT + "2")):
        await calls.write([start(number, inputs={"topic": text})])

    found = await AggregatesStore(database).calls(PROJECT, Grouping(paths=["inputs.topic"]), ["count"])

    assert [(row["path_values"], row["count"]) for row in found.rows] == [([f'"{"é" * MAX_TEXT}"'], 3)]


@pytest.mark.parametrize(
    ("paths", "numbers", "sort", "argument", "message"),
    [
        (["statsu"], [], [], "group_paths.0", "did you mean status"),
        (["inputs.x", "inputs.x"], [], [], "group_paths.1", "named twice"),
        (["attributes"], [], [], "group_paths.0", "attributes is always an object"),
        ([f"inputs.k{at}" for at in range(MAX_FIELDS + 1)], [], [], "group_paths", "the limit is 20"),
        ([], ["op_name"], [], "numbers.0", "op_name is no number; name a path such as output.score"),
        ([], ["started_at"], [], "numbers.0", "started_at is no number"),
        ([], ["inputs.a..b"], [], "numbers.0", "empty key"),
        ([], ["inputs.x", "inputs.x"], [], "numbers.1", "named twice"),
        ([], [f"inputs.{'k' * 10_000}"], [], "numbers.0", "10,007 characters"),
        (["inputs.x"], ["inputs.y"], ["inputs.y"], "sort_by.0.field", "there is no field 'inputs.y'"),
        (["inputs.x"], ["inputs.y"], ["inputs.y.mean"], "sort_by.0.field", "did you mean"),
    ],
)
async def test_invalid_arguments_are_named(
    database: Database, paths: list[str], numbers: list[str], sort: list[str], argument: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        await AggregatesStore(database).calls(
            PROJECT, Grouping(paths=paths), ["count"], sort_by=[SortBy(each) for each in sort], numbers=numbers
        )

    assert caught.value.argument == argument


async def test_columns_are_keys(calls: CallsStore, database: Database) -> None:
    release = {"environment": "production", "release": "1.2"}
    model = {"kind": "llm", "gen_ai.request.model": "loom", "gen_ai.provider.name": "openai", **release}
    first_token = {"gen_ai.response.time_to_first_chunk": 0.0015}
    attributes: list[dict[str, Json]] = [
        {**model, **first_token, "user.id": "ada", "tags": ["a", "b"], "gen_ai.response.finish_reasons": ["stop"]},
        {**model, "user.id": "bob", "tags": ["b"], "gen_ai.response.finish_reasons": ["stop", "length"]},
        {"kind": "tool"},
    ]
    for number, each in enumerate(attributes):
        await calls.write([start(number, attributes=each), end(number, exception="ValueError: no" if number else None)])
    store = AggregatesStore(database)

    async def rows(*by: GroupBy) -> list[tuple[Json, ...]]:
        found = await store.calls(PROJECT, Grouping(by), ["count"])
        return [(*(row[key.value] for key in by), row["count"]) for row in found.rows]

    assert await rows(GroupBy.KIND) == [("llm", 2), ("tool", 1)]
    assert await rows(GroupBy.USER_ID, GroupBy.KIND) == [("ada", "llm", 1), ("bob", "llm", 1), (None, "tool", 1)]
    assert await rows(GroupBy.TAG) == [("a", 1), ("b", 2), (None, 1)]
    assert await rows(GroupBy.MODEL) == [("loom", 2), (None, 1)]
    assert await rows(GroupBy.TIME_TO_FIRST_TOKEN_MS) == [(1.5, 1), (None, 2)]
    assert await rows(GroupBy.FINISH_REASON) == [("length", 1), ("stop", 2), (None, 1)]
    assert await rows(GroupBy.PROVIDER) == [("openai", 2), (None, 1)]
    assert await rows(GroupBy.ENVIRONMENT, GroupBy.RELEASE) == [("production", "1.2", 2), (None, None, 1)]
    assert await rows(GroupBy.ERROR_TYPE) == [("ValueError", 2), (None, 1)]
    every_key = await store.calls(
        PROJECT,
        Grouping(list(GroupBy), Bucket.DAY, paths=[f"inputs.k{number}" for number in range(MAX_FIELDS)]),
        ["count"],
    )
    assert sum(row["count"] for row in every_key.rows) == 5
