"""Tests of the usage that a call stores: whole counts, each under one name, for any input."""

import json
from typing import Any

import bson
import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.documents import MAX_BYTES, MAX_GROWTH
from stores.costs import Prices
from stores.costs.defaults import of_model
from stores.database import Database
from stores.errors import PayloadTooLargeError
from stores.usage.entries import kept_usage
from tests.stores.calls.builders import PROJECT, call_id, end, start

MOST = 2**63 - 1
COUNTS = ("prompt_tokens", "completion_tokens", "requests", "total_tokens")


def entry(model: str, *counts: int) -> dict[str, Any]:
    return {"model": model, **dict(zip(COUNTS, counts, strict=True))}


async def stored(calls: CallsStore, number: int = 1) -> tuple[Any, Any]:
    row = await calls.one(PROJECT, call_id(number), {"usage", "total_tokens"})
    kept = await calls.database.calls.find_one({"id": call_id(number)}, {"usage": 1, "total_tokens": 1})
    assert row is not None
    assert kept is not None
    return kept.get("usage"), kept.get("total_tokens")


@pytest.mark.parametrize(
    ("sent", "counts"),
    [
        ({}, (0, 0, 0, 0)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "requests": 1, "total_tokens": 7}, (3, 4, 1, 7)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4, 0, 7)),
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 0, 7)),
        ({"prompt_tokens": 3, "input_tokens": 3, "completion_tokens": 4, "output_tokens": 4}, (3, 4, 0, 7)),
        ({"prompt_tokens": 3, "input_tokens": 5, "completion_tokens": 4, "output_tokens": 9}, (3, 4, 0, 7)),
        ({"prompt_tokens": 0, "input_tokens": 5, "completion_tokens": None, "output_tokens": 9}, (5, 9, 0, 14)),
        ({"prompt_tokens": 3, "total_tokens": 100}, (3, 0, 0, 100)),
        ({"total_tokens": 7}, (7, 0, 0, 7)),
        ({"prompt_tokens": 3, "total_tokens": 0}, (3, 0, 0, 3)),
        ({"prompt_tokens": 5.0, "completion_tokens": 1.7, "requests": "1", "total_tokens": [9]}, (5, 0, 0, 5)),
        ({"prompt_tokens": True, "completion_tokens": {"a": 1}, "requests": -1}, (0, 0, 0, 0)),
        ({"prompt_tokens": -3, "input_tokens": 5, "completion_tokens": -1.0}, (5, 0, 0, 5)),
        ({"prompt_tokens": MOST, "completion_tokens": MOST}, (MOST, MOST, 0, MOST)),
        ({"prompt_tokens": MOST + 1, "completion_tokens": 2**300, "requests": 1e300}, (0, 0, 0, 0)),
        ({"prompt_tokens": 2.0**63, "completion_tokens": 2.0**62}, (0, 2**62, 0, 2**62)),
    ],
)
async def test_counts_are_stored_under_one_name_each(
    calls: CallsStore, sent: dict[str, Any], counts: tuple[int, ...]
) -> None:
    await calls.write([start(), end(summary={"usage": {"m": sent}})])

    is_sum = counts[3] > 0 and sent.get("total_tokens") not in (7, 100)
    expected = entry("m", *counts) | ({"total_is_sum": True} if is_sum else {})
    assert await stored(calls) == ([expected], counts[3])


async def test_token_classes_and_reported_cost_are_stored_with_the_counts(calls: CallsStore) -> None:
    sent = {"input_tokens": 3, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 500}
    priced = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "cost": 0.125}
    summary = {"usage": {"claude": sent, "gpt": priced}}

    await calls.write([start(), end(summary=summary)])

    cached = entry("claude", 1503, 0, 0, 1503) | {"total_is_sum": True}
    assert await stored(calls) == (
        [
            cached | {"classes": {"cache_read": 1000, "cache_write_5m": 500}},
            entry("gpt", 20, 5, 0, 25) | {"stated_cost": 0.125},
        ],
        1528,
    )
    row = await calls.one(PROJECT, call_id(1), {"summary"})
    assert row is not None
    assert json.loads(row["json"]["summary"]) == summary


@pytest.mark.parametrize(
    ("calls_counted", "requests", "cost"),
    [
        pytest.param(3, 0, 0.377, id="300,000 x 1.25e-6 + 200 x 1e-5: two calls of 150,000 below the one that sums up"),
        pytest.param(3, 1, 0.753, id="300,000 x 2.5e-6 + 200 x 1.5e-5: one request above the tier"),
        pytest.param(1, 0, 0.753, id="300,000 x 2.5e-6 + 200 x 1.5e-5: a call that speaks for itself"),
    ],
)
async def test_sum_without_a_request_count_reaches_no_tier(
    calls: CallsStore, calls_counted: int, requests: int, cost: float
) -> None:
    sent = {"gemini-2.5-pro": {"requests": requests, "prompt_tokens": 300_000, "completion_tokens": 200}}
    await calls.write([start(), end(summary={"usage": sent, "status_counts": {"success": calls_counted}})])

    usage, _ = await stored(calls)
    assert Prices(of_model("gemini-2.5-pro")).total_cost(usage, 0) == cost


@pytest.mark.parametrize(
    "summary", [{}, {"usage": {}}, {"usage": None}, {"usage": [1]}, {"usage": "x"}, {"usage": {"m": 3, "n": []}}]
)
async def test_call_without_a_model_stores_no_usage(calls: CallsStore, summary: dict[str, Any]) -> None:
    await calls.write([start(), end(summary=summary)])

    assert await stored(calls) == (None, None)


@pytest.mark.parametrize("whole", [True, False], ids=["inserted whole", "end upon end"])
async def test_unusual_and_many_model_names_are_stored_and_summed(calls: CallsStore, *, whole: bool) -> None:
    names = ["", "a.b", "$sum", "$$ROOT", "nul\0", "ключ", "x" * 5_000, *(f"model-{number}" for number in range(9_993))]
    first: list[CallStart | CallEnd] = [
        start(),
        end(summary={"usage": {name: {"requests": 1, "total_tokens": 2} for name in names}}),
    ]
    if not whole:
        await calls.write([start(), end()])
        del first[0]
    await calls.write(first)

    assert await stored(calls) == ([entry(name, 2, 0, 1, 2) for name in names], 20_000)


async def test_sums_beyond_64_bits_are_capped(calls: CallsStore) -> None:
    await calls.write([start(), end(summary={"usage": {name: {"total_tokens": MOST} for name in "abc"}})])

    assert await stored(calls) == ([entry(name, MOST, 0, 0, MOST) for name in "abc"], MOST)


async def test_last_end_replaces_the_usage_of_earlier_ones(calls: CallsStore) -> None:
    await calls.write([start(), end(summary={"usage": {"m": {"requests": 1}}})])
    await calls.write([end()])

    assert await stored(calls) == (None, None)


async def test_too_many_models_for_a_document_are_refused(calls: CallsStore, database: Database) -> None:
    models: dict[str, Any] = {f"{number:x}": {} for number in range(70_000)}
    assert len(json.dumps(models)) < MAX_BYTES // 7

    with pytest.raises(PayloadTooLargeError, match="limit is 7,700,000"):
        await calls.write([start(), end(summary={"usage": models})])

    assert await database.calls.count_documents({}) == 0


def test_stored_usage_fits_the_space_reserved_for_it() -> None:
    names = ["", *(chr(0x4E00 + number) for number in range(20_000))]
    summary: dict[str, Any] = {"usage": {name: {} for name in names}}
    document = {"summary": summary, "json": {"summary": compact(summary)}, **kept_usage(summary, sums_up=True)}

    assert len(bson.encode(document)) < MAX_GROWTH * len(compact(summary))


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
