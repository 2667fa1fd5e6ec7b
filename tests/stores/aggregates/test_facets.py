"""Tests of facets: random calls against a model in plain Python, hostile paths, and very many distinct values."""

from collections import Counter
from random import Random
from typing import Any, Final

import pytest

from stores.aggregates import AggregatesStore, Facet, FacetsStore, Grouping
from stores.aggregates.call_values import MAX_FIELDS, MAX_TEXT
from stores.aggregates.facets import MAX_BINS, MAX_LIMIT, bin_bounds
from stores.calls import CallsFilter, CallsStore
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.json import codec
from stores.query import Query
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start
from tests.stores.feedback.builders import call_ref, note

Json = Any

LONG: Final = "é" * MAX_TEXT
ODD_KEYS: Final = ("a.b", "$where", "per%cent", "0", "back\\slash", "ünïcode")
SCALARS: Final = (
    *("yes", "no", "", "$yes", "a.b", "\0", LONG, LONG + "1", LONG + "2"),
    *(0, 1, 1.0, -3, 2.5, 0.1 + 0.2, 1 << 60, 1e300, True, False, None),
)
PATHS: Final = (
    "inputs.topic",
    "inputs.a\\.b",
    "inputs.$where",
    "inputs.per%cent",
    "inputs.0",
    "inputs.back\\\\slash",
    "inputs.ünïcode",
    "inputs.list.0",
    "inputs.list.1.topic",
    "output",
    "output.0",
    "output.topic",
    "attributes.metadata.topic",
)


@pytest.fixture
def store(database: Database) -> FacetsStore:
    return FacetsStore(database)


def random_json(rng: Random, depth: int = 0) -> Json:
    """Return a random value: mostly one of few scalars, sometimes a list or an object."""
    kind = rng.random()
    if depth < 3 and kind < 0.15:
        return [random_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    if depth < 3 and kind < 0.3:
        keys = rng.sample(("topic", "list", "metadata", *ODD_KEYS), 3)
        return {key: random_json(rng, depth + 1) for key in keys}
    return rng.choice(SCALARS)


def random_inputs(rng: Random) -> dict[str, Json]:
    return {key: random_json(rng, 1) for key in ("topic", "list", "metadata", *ODD_KEYS) if rng.random() < 0.8}


def value_at(document: Json, path: str) -> Json:
    """Return the value at a path, whose keys escape dots."""
    steps = path.replace("\\\\", "\1").replace("\\.", "\2").split(".")
    for step in (each.replace("\1", "\\").replace("\2", ".") for each in steps):
        if isinstance(document, list):
            document = document[int(step)] if step.isdigit() and int(step) < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document


def expected_facet(field: str, values: list[Json], limit: int) -> dict[str, Any]:
    """Return the facet of the values of a field, one for each call."""
    counts: Counter[tuple[bool, str]] = Counter()
    others = missing = 0
    numbers: list[float] = []
    for value in values:
        members = [each for each in (value if isinstance(value, list) else [value]) if each is not None]
        scalars = [each for each in members if not isinstance(each, list | dict)]
        missing += not members
        others += len(scalars) < len(members)
        counts.update({group_of(each) for each in scalars})
        numbers += {each for each in scalars if isinstance(each, int | float) and not isinstance(each, bool)}
    frequent = sorted(counts.items(), key=lambda item: (-item[1], order_of(item[0])))[:limit]
    return {
        "field": field,
        "values": [(text, is_start, count) for (is_start, text), count in frequent],
        "num_distinct": len(counts),
        "num_other": others + sum(counts.values()) - sum(count for _, count in frequent),
        "num_missing": missing,
        "numbers": sorted(numbers),
    }


def group_of(value: Json) -> tuple[bool, str]:
    """Return the text of a value, or of the start of a long text, which the first member tells."""
    if isinstance(value, str):
        return len(value) > MAX_TEXT, text_of(value[:MAX_TEXT])
    return False, text_of(value)


def text_of(value: Json) -> str:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53
    return codec.encode(int(value) if is_whole else value)


def order_of(group: tuple[bool, str]) -> tuple[int, Any]:
    """Return the sort key of a value: numbers, texts by bytes, starts of texts, booleans."""
    is_start, text = group
    value = codec.loads(text.encode())
    if isinstance(value, bool):
        return 3, value
    if isinstance(value, str):
        return 1 + is_start, value.encode()
    return 0, value


def assert_equals(facet: Facet, expected: dict[str, Any]) -> None:
    found = {
        "field": facet.field,
        "values": [(each.value, each.is_start, each.count) for each in facet.values],
        "num_distinct": facet.num_distinct,
        "num_other": facet.num_other,
        "num_missing": facet.num_missing,
    }
    numbers = expected.pop("numbers")
    assert found == expected
    bins = facet.histogram or []
    assert [each.count for each in bins] == [sum(each.from_ <= one < each.to for one in numbers) for each in bins]
    assert sum(each.count for each in bins) == len(numbers)
    assert (facet.histogram is None) == (not numbers)
    assert len(bins) <= MAX_BINS
    assert not bins or (bins[0].count and bins[-1].count)


@pytest.mark.parametrize("seed", range(3))
async def test_facets_of_random_calls_equal_the_model(calls: CallsStore, store: FacetsStore, seed: int) -> None:
    rng = Random(seed)
    documents = []
    for number in range(150):
        output = random_json(rng)
        documents.append({"inputs": random_inputs(rng), "attributes": random_inputs(rng), "output": output})
        attributes, inputs = documents[-1]["attributes"], documents[-1]["inputs"]
        await calls.write([start(number, attributes=attributes, inputs=inputs), end(number, output=output)])
    for limit in (1, 5, MAX_LIMIT):
        facets = await store.facets(PROJECT, PATHS, limit=limit)
        for path, facet in zip(PATHS, facets, strict=True):
            assert_equals(facet, expected_facet(path, [value_at(each, path) for each in documents], limit))


async def test_columns_have_values_and_histograms(calls: CallsStore, store: FacetsStore, database: Database) -> None:
    await CostsStore(database).create(PROJECT, [NewCost("loom", 0.5, 0.25, effective_date=0)])
    usage = {"usage": {"loom": {"prompt_tokens": 2, "completion_tokens": 4}}}
    for number in range(30):
        begins = NOON + number * 60 * SECOND
        await calls.write([start(number, started_at=begins, thread_id="t" if number % 3 else None)])
        if number:
            ended = begins + number * 100_000
            await calls.write([end(number, ended_at=ended, exception="no" if number > 27 else None, summary=usage)])
    fields = ["status", "threadId", "latency_ms", "started_at", "total_cost", "id"]
    status, thread, latency, started, cost, ids = await store.facets(PROJECT, fields, limit=2)

    assert [(each.value, each.count) for each in status.values] == [('"success"', 27), ('"error"', 2)]
    assert (status.num_distinct, status.num_other, status.num_missing) == (3, 1, 0)
    assert [(each.value, each.count) for each in thread.values] == [('"t"', 20)]
    assert thread.num_missing == 10
    assert [(each.from_, each.to, each.count) for each in latency.histogram or []][:2] == [(0, 200, 1), (200, 400, 2)]
    assert started.values[0].value == str(NOON // SECOND)
    assert [(each.from_, each.to, each.count) for each in started.histogram or []][:2] == [
        (NOON // SECOND, NOON // SECOND + 120, 2),
        (NOON // SECOND + 120, NOON // SECOND + 240, 2),
    ]
    assert [(each.value, each.count) for each in cost.values] == [("2", 29)]
    assert (cost.num_missing, cost.histogram and cost.histogram[0].count) == (1, 29)
    assert (ids.num_distinct, ids.num_other) == (30, 28)


async def test_feedback_is_the_newest_of_each_call(calls: CallsStore, store: FacetsStore, database: Database) -> None:
    await calls.write([part for number in range(4) for part in (start(number), end(number))])
    feedback = FeedbackStore(database)
    for text, number in (("old", 0), ("good", 0), ("good", 1), ("bad", 2)):
        await feedback.create([note(text, weave_ref=call_ref(number))])

    field = "feedback.[wandb.note.1].payload.note"
    facet, kinds = await store.facets(PROJECT, [field, "feedback.[*].feedback_type"])
    matching = Query({"$expr": {"$eq": [{"$getField": field}, {"$literal": "bad"}]}})
    [narrowed] = await store.facets(PROJECT, [field], query=matching)

    assert [(each.value, each.count) for each in facet.values] == [('"good"', 2), ('"bad"', 1)]
    assert (facet.num_missing, facet.num_other) == (1, 0)
    assert [(each.value, each.count) for each in kinds.values] == [('"wandb.note.1"', 3)]
    assert [(each.value, each.count) for each in narrowed.values] == [('"bad"', 1)]


async def test_filters_and_other_projects_narrow_the_calls(calls: CallsStore, store: FacetsStore) -> None:
    await calls.write([part for number in range(4) for part in (start(number, thread_id=f"t{number}"), end(number))])
    await calls.write([start(9, project_id="acme/other", thread_id="theirs")])

    [facet] = await store.facets(PROJECT, ["thread_id"], CallsFilter(call_ids=[call_id(1), call_id(2), call_id(9)]))
    [none] = await store.facets("acme/none", ["inputs.x"])

    assert [each.value for each in facet.values] == ['"t1"', '"t2"']
    assert none == Facet("inputs.x", [], 0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "limit", "argument", "message"),
    [
        ([], None, "fields", "is empty; name a field"),
        (["statsu"], None, "fields.0", "there is no field 'statsu'; did you mean status"),
        (["status", "summary.weave.status"], None, "fields.1", "named twice"),
        (["status", "costs"], None, "fields.1", "there is no field 'costs'"),
        (["inputs"], None, "fields.0", "inputs is always an object"),
        (["$where"], None, "fields.0", r"there is no field '\$where'"),
        (["inputs.a..b"], None, "fields.0", "empty key"),
        ([f"inputs.{'k' * 10_000}"], None, "fields.0", "10,007 characters; the limit is 1,000"),
        ([".".join(["inputs", *"k" * 51])], None, "fields.0", "51 keys"),
        (["feedback.[x"], None, "fields.0", "write feedback"),
        ([f"inputs.k{number}" for number in range(MAX_FIELDS + 1)], None, "fields", "21 fields; the limit is 20"),
        (["status"], 0, "limit", "0 is out of range; use 1 to 1,000"),
        (["status"], 1 << 62, "limit", "out of range; use 1 to 1,000"),
    ],
)
async def test_invalid_arguments_are_named(
    store: FacetsStore, fields: list[str], limit: int | None, argument: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        await store.facets(PROJECT, fields, limit=limit)

    assert caught.value.argument == argument


@pytest.mark.parametrize(
    "path",
    ["inputs.$where", "inputs.a.$b", "inputs.$$ROOT", ".".join(["inputs", *"k" * 50]), ".".join(["inputs", *"0" * 50])],
)
async def test_hostile_paths_are_plain_keys(calls: CallsStore, store: FacetsStore, path: str) -> None:
    value: Json = "here"
    for key in reversed(path.split(".")[1:]):
        value = {key: value}
    await calls.write([start(1, inputs=value), start(2)])

    [facet] = await store.facets(PROJECT, [path])
    grouped = await AggregatesStore(store.database).calls(PROJECT, Grouping(paths=[path]), ["count"], numbers=[path])

    assert ([(each.value, each.count) for each in facet.values], facet.num_missing) == ([('"here"', 1)], 1)
    assert [(row["path_values"], row["count"]) for row in grouped.rows] == [(['"here"'], 1), ([None], 1)]


async def test_path_with_very_many_distinct_values_is_bounded_and_says_so(
    calls: CallsStore, database: Database, store: FacetsStore
) -> None:
    """30,000 texts of 10,000 characters are 300 MB; their groups are 500 characters each."""
    await calls.write([start(1, inputs={"topic": "x"}), end(1)])
    [copied] = await database.calls.find({}, {"json": 0}).to_list(1)
    for first in range(0, 30_000, 3_000):
        documents = [
            copied | {"_id": f"{PROJECT}:m{number}", "id": f"m{number}", "inputs": {"topic": f"{number:06}" * 1_700}}
            for number in range(first, first + 3_000)
        ]
        await database.calls.insert_many(documents)

    [facet] = await store.facets(PROJECT, ["inputs.topic"], limit=3)

    assert (facet.num_distinct, facet.num_other, facet.num_missing) == (30_001, 29_998, 0)
    assert [(each.is_start, each.count, len(each.value)) for each in facet.values[:1]] == [(False, 1, 3)]
    assert all(len(each.value) <= MAX_TEXT + 2 for each in facet.values)


@pytest.mark.parametrize(
    ("numbers", "first", "last", "bins"),
    [
        ((0, 9), 0, 10, 10),
        ((0.0, 1.0), 0, 1.1, 11),
        ((0.3, 0.7), 0.3, 0.75, 9),
        ((5, 5), 5, 6, 1),
        ((0, 0), 0, 1, 1),
        ((-3.5, 1e300), -1e299, 1.1e300, 12),
        ((-1e308, 1e308), -1e308, 1.2e308, 11),
        ((1e-300, 2e-300), 1e-300, 2.1e-300, 11),
    ],
)
def test_ranges_have_round_bounds(numbers: tuple[float, float], first: float, last: float, bins: int) -> None:
    bounds = bin_bounds(*numbers, are_whole=all(isinstance(each, int) for each in numbers))

    assert (bounds[0], bounds[-1], len(bounds) - 1) == (first, last, bins)


def test_ranges_contain_any_two_numbers() -> None:
    rng = Random(1)
    for _ in range(300):
        scale = 10.0 ** rng.randrange(-300, 300)
        base = rng.choice((0.0, scale, -scale, scale * 1e10))
        spread = rng.choice((0, 1e-9, 1)) * scale
        least, greatest = sorted((base + rng.uniform(-1, 1) * scale, base + rng.random() * spread))
        bounds = bin_bounds(least, greatest)

        assert bounds[0] <= least
        assert bounds[-1] > greatest
        assert len(bounds) <= MAX_BINS + 1
        assert sorted(set(bounds)) == bounds
