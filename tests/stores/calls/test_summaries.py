"""Tests that a summary is returned as the client sent it, with LoomQL's own values under `weave`."""

import json
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.fields import SUMMARY, usage
from stores.usage.classes import class_fields
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start

WANTED = {"summary", "usage"}


async def read(calls: CallsStore) -> dict[str, Any]:
    row = await calls.one(PROJECT, call_id(1), WANTED)
    assert row is not None
    return row


async def test_summary_of_a_finished_call_has_status_latency_and_name(calls: CallsStore) -> None:
    await calls.write([start(op_name="weave:///acme/chat/op/answer:v1"), end(summary={"z": 1, "a": 2**70})])

    assert SUMMARY.text(await read(calls)) == (
        '{"z":1,"a":1180591620717411303424,"weave":{"status":"success","trace_name":"answer","latency_ms":500}}'
    )


async def test_summary_of_a_running_call_has_no_latency(calls: CallsStore) -> None:
    await calls.write([start(display_name="hello")])

    assert json.loads(SUMMARY.text(await read(calls))) == {"weave": {"status": "running", "display_name": "hello"}}
    assert usage(await read(calls)) == []


@pytest.mark.parametrize(
    ("after", "latency"), [(-1_500_000, -1500), (1_999_500, 1999), (0, 0), (-1, -1), (3600 * SECOND, 3_600_000)]
)
async def test_latency_is_floored_and_may_be_negative(calls: CallsStore, after: int, latency: int) -> None:
    await calls.write([start(started_at=NOON), end(ended_at=NOON + after)])

    assert json.loads(SUMMARY.text(await read(calls)))["weave"]["latency_ms"] == latency


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"status": "mine", "own": 1}, {"status": "success", "own": 1, "trace_name": "answer", "latency_ms": 500}),
        ("text", {"status": "success", "trace_name": "answer", "latency_ms": 500}),
    ],
)
async def test_keys_written_under_weave_are_kept(calls: CallsStore, sent: object, found: object) -> None:
    await calls.write([start(), end(summary={"before": [], "weave": sent, "after": {}})])

    summary = json.loads(SUMMARY.text(await read(calls)))

    assert list(summary) == ["before", "weave", "after"]
    assert summary["weave"] == found


@pytest.mark.parametrize(
    ("summary", "exception", "status"),
    [
        ({}, None, "success"),
        ({}, "", "success"),
        ({}, "x", "error"),
        ({"status_counts": {"error": 2}}, None, "descendant_error"),
        ({"status_counts": {"error": 2}}, "x", "error"),
        ({"status_counts": {"error": 0}}, None, "success"),
        ({"status_counts": {"error": "2"}}, None, "success"),
        ({"status_counts": [2]}, None, "success"),
    ],
)
async def test_status_is_derived_from_exception_and_counts(
    calls: CallsStore, summary: dict[str, Any], exception: str | None, status: str
) -> None:
    await calls.write([start(), end(summary=summary, exception=exception)])

    assert json.loads(SUMMARY.text(await read(calls)))["weave"]["status"] == status


async def test_usage_is_listed_by_model_with_reported_counts_only(calls: CallsStore) -> None:
    models = {"a": {"prompt_tokens": 3, "total_tokens": "4", "other": 5}, "b": {}, "c": 1}
    await calls.write([start(), end(summary={"usage": models})])

    assert usage(await read(calls)) == [
        {"model": "a", "prompt_tokens": 3, **class_fields(3, {})},
        {"model": "b", **class_fields(0, {})},
    ]


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (0, 0),
        (-1, -1),
        (5.0, 5),
        (1.7, None),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (2.0**63, None),
        (-(2**63), -(2**63)),
        (2**70, None),
        (1e300, None),
        (True, None),
        ("4", None),
        ([4], None),
    ],
)
async def test_count_is_a_64_bit_integer(calls: CallsStore, sent: object, count: int | None) -> None:
    await calls.write([start(), end(summary={"usage": {"a": {"requests": sent}}})])

    [counts] = usage(await read(calls))

    assert counts == {"model": "a", **class_fields(0, {})} | ({} if count is None else {"requests": count})
