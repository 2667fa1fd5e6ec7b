"""Tests of the paths of calls: random JSON against a model, paths that queries accept, and bounds."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from stores.aggregates import CallPathsStore, FacetsStore, JsonType
from stores.aggregates.call_paths import MAX_MEMBERS, MAX_PATHS
from stores.calls import CallsFilter, CallsStore
from stores.database import Database
from stores.errors import BadInputError
from stores.json import codec, paths
from tests.stores.aggregates.test_facets import random_inputs, random_json
from tests.stores.calls.builders import PROJECT, call_id, end, start

Json = Any

TYPES = {str: "string", int: "number", float: "number", bool: "boolean", list: "list", dict: "object"}


@pytest.fixture
def store(database: Database) -> CallPathsStore:
    return CallPathsStore(database)


def values_in(value: Json, steps: tuple[str, ...]) -> Iterator[tuple[str, Json]]:
    """Yield all values except null with their paths."""
    if value is not None:
        yield paths.join(steps), value
    members: list[tuple[str, Json]] = [*value.items()] if isinstance(value, dict) else []
    members += [("0", member) for member in value] if isinstance(value, list) else []
    for key, member in members:
        yield from values_in(member, (*steps, key))


@pytest.mark.parametrize("seed", range(2))
async def test_paths_of_random_calls_equal_the_model_and_are_valid(
    calls: CallsStore, store: CallPathsStore, database: Database, seed: int
) -> None:
    rng, count = Random(seed), 40
    counts: Counter[str] = Counter()
    types: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for number in range(count):
        inputs, output = random_inputs(rng), random_json(rng)
        await calls.write([start(number, inputs=inputs), end(number, output=output)])
        found = [*values_in(inputs, ("inputs",)), *values_in(output, ("output",))]
        inner = {(path, TYPES[type(value)]) for path, value in [*found, ("attributes", {}), ("summary", {})]}
        counts.update({path for path, _ in inner})
        for path, kind in inner:
            types[path][kind] += 1

    result = await store.paths(PROJECT)

    assert (result.num_calls, result.is_truncated) == (count, False)
    assert {each.path: round(each.share * count) for each in result.paths} == counts
    assert {
        each.path: {one.type.value: round(one.share * count) for one in each.types} for each in result.paths
    } == types
    for each in result.paths:
        is_scalar = {one.type for one in each.types} - {JsonType.LIST, JsonType.OBJECT}
        assert bool(is_scalar) == (each.example is not None)
    shares = [each.share for each in result.paths]
    assert shares == sorted(shares, reverse=True)
    valid = [each.path for each in result.paths if each.path not in ("inputs", "attributes", "summary")]
    for first in range(0, len(valid), 20):
        facets = await FacetsStore(database).facets(PROJECT, valid[first : first + 20])
        assert [facet.field for facet in facets] == valid[first : first + 20]
        without_lists = [facet for facet in facets if "0" not in facet.field.split(".")]
        assert all(
            facet.num_missing <= count - counts[facet.field] or "list" in types[facet.field] for facet in without_lists
        )


async def test_under_narrows_the_paths(calls: CallsStore, store: CallPathsStore) -> None:
    messages = [{"role": "user", "a.b": 1}, {"role": None, "content": "x" * 300}]
    await calls.write([start(1, inputs={"messages": messages, "other": 1}, attributes={"messages": 2})])
    await calls.write([start(2, inputs={"messages": "none"})])

    below = await store.paths(PROJECT, "inputs.messages")
    one = await store.paths(PROJECT, "inputs.messages.1")
    filtered = await store.paths(PROJECT, "inputs", CallsFilter(call_ids=[call_id(2)]))

    assert [(each.path, each.share, each.example) for each in below.paths] == [
        ("inputs.messages.0", 0.5, None),
        ("inputs.messages.0.a\\.b", 0.5, "1"),
        ("inputs.messages.0.content", 0.5, codec.encode("x" * 200)),
        ("inputs.messages.0.role", 0.5, '"user"'),
    ]
    assert [each.path for each in one.paths] == ["inputs.messages.1.content"]
    assert [(each.path, each.example) for each in filtered.paths] == [("inputs.messages", '"none"')]
    assert (await store.paths("acme/none")).num_calls == 0


async def test_bounds_are_reported(calls: CallsStore, store: CallPathsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Json = "end"
    for _ in range(90):
        deep = {"k": deep}
    many = {f"key {number}": number for number in range(MAX_PATHS + 5)}
    await calls.write([start(1, inputs={"deep": deep}), start(2, inputs=many), start(3, inputs={"k" * 2_000: 1})])
    await calls.write([start(4, inputs={"list": [{"a": 1}] * MAX_MEMBERS + [{"b": 1}]})])

    await calls.write([start(5, inputs={"list": list(range(MAX_MEMBERS + 1))})])

    for number, is_truncated in ((1, True), (2, True), (3, True), (4, True)):
        found = await store.paths(PROJECT, "inputs", CallsFilter(call_ids=[call_id(number)]))
        assert found.is_truncated == is_truncated, number
        assert len(found.paths) <= MAX_PATHS
    assert [each.path for each in found.paths] == ["inputs.list", "inputs.list.0", "inputs.list.0.a"]
    numbers = await store.paths(PROJECT, "inputs", CallsFilter(call_ids=[call_id(5)]))
    assert not numbers.is_truncated
    await calls.delete(PROJECT, [call_id(5)])

    monkeypatch.setattr("stores.aggregates.call_paths.MAX_CHARACTERS", 100)
    newest = await store.paths(PROJECT, "inputs")
    assert (newest.num_calls, newest.is_truncated) == (1, True)

    monkeypatch.setattr("stores.aggregates.call_paths.MAX_CHARACTERS", 1 << 30)
    monkeypatch.setattr("stores.aggregates.call_paths.MAX_KNOWN", 3)
    few = await store.paths(PROJECT, "inputs")
    assert (few.num_calls, len(few.paths), few.is_truncated) == (4, 2, True)


@pytest.mark.parametrize(
    ("under", "message"),
    [
        ("inptus.messages", r"'inptus\.messages' is no path into the JSON of calls; did you mean inputs\?$"),
        ("foo", r"JSON of calls; start it with inputs, output, attributes or summary$"),
        ("status", "'status' is no path into the JSON of calls; start it with"),
        ("summary.weave.status", "is computed from columns"),
        ("inputs.", "empty key"),
        ("", "'' is no path into the JSON of calls"),
        (f"inputs.{'k' * 10_000}", "10,007 characters"),
    ],
)
async def test_invalid_prefix_is_refused(store: CallPathsStore, under: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        await store.paths(PROJECT, under)

    assert caught.value.argument == "under"
