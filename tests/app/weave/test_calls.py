"""Tests of reading calls at the Weave API over plain HTTP."""

import json
from typing import Any

import httpx
import pytest

from app.weave import calls as call_routes
from app.weave import messages
from stores.calls import CallsStore
from stores.errors import UnavailableError
from stores.paging import Page
from tests.app.weave.asking import MOMENT, call_ref, end, posted, refused, start, started, streamed

STREAM = "/calls/stream_query"


def with_calls(weave_api: httpx.Client, project: str, count: int, **fields: object) -> list[str]:
    """Write calls that start a second apart and return their ids."""
    batch = [
        start(project, started_at=f"2026-01-01T00:{at // 60:02}:{at % 60:02}Z", inputs={"n": at}, **fields)
        for at in range(count)
    ]
    return [result["id"] for result in posted(weave_api, "/call/upsert_batch", batch=batch)["res"]]


def found(weave_api: httpx.Client, project: str, **options: object) -> list[int]:
    return [call["inputs"]["n"] for call in streamed(weave_api, STREAM, project_id=project, **options)]


def test_call_is_read_with_all_fields(weave_api: httpx.Client, project: str) -> None:
    fields = {
        "parent_id": "b" * 16,
        "thread_id": "t",
        "turn_id": "u",
        "wb_run_id": "e/p/r",
        "wb_run_step": 4,
        "display_name": "mine",
    }
    call_id = started(weave_api, project, attributes={"a": 1}, inputs={"b": "weave:///e/p/object/o:d"}, **fields)
    ended = end(project, call_id, summary={"weave": {"own": 1, "status": "x"}, "more": 2}, exception="E", output=[0.1])
    posted(weave_api, "/call/upsert_batch", batch=[ended])

    [call] = streamed(weave_api, STREAM, project_id=project)

    assert call.pop("trace_id")
    assert call == {
        **fields,
        "id": call_id,
        "project_id": project,
        "op_name": "chat",
        "started_at": MOMENT,
        "ended_at": MOMENT,
        "attributes": {"a": 1},
        "inputs": {"b": "weave:///e/p/object/o:d"},
        "output": [0.1],
        "exception": "E",
        "summary": {"more": 2, "weave": {"own": 1, "status": "error", "display_name": "mine", "latency_ms": 0}},
        "wb_user_id": "local",
        "wb_run_step_end": None,
        "deleted_at": None,
    }
    assert posted(weave_api, "/call/read", project_id=project, id=call_id)["call"]["inputs"] == call["inputs"]
    assert posted(weave_api, "/call/read", project_id=project, id="c" * 16) == {"call": None}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"limit": 0}, []),
        ({"limit": 3, "offset": 2}, [2, 3, 4]),
        ({"offset": 5}, [5, 6]),
        ({"offset": 99}, []),
        ({"limit": 7}, [0, 1, 2, 3, 4, 5, 6]),
        ({"sort_by": [{"field": "inputs.n", "direction": "desc"}], "limit": 2}, [6, 5]),
        ({"query": {"$expr": {"$gt": [{"$getField": "inputs.n"}, {"$literal": 4}]}}}, [5, 6]),
        ({"query": {"$expr": {"$contains": {"input": {"$getField": "op_name"}, "substr": {"$literal": "z"}}}}}, []),
        ({"filter": {"op_names": ["chat"], "call_ids": None, "unknown": 1}, "limit": 1}, [0]),
        ({"filter": {"op_names": ["other"]}}, []),
    ],
)
def test_calls_are_listed_page_by_page(
    weave_api: httpx.Client, project: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: list[int]
) -> None:
    monkeypatch.setattr(messages, "FOUND_AT_ONCE", 3)
    monkeypatch.setattr(messages, "READ_AT_ONCE", 2)
    with_calls(weave_api, project, 7)

    assert found(weave_api, project, **options) == expected
    assert [
        call["inputs"]["n"] for call in posted(weave_api, "/calls/query", project_id=project, **options)["calls"]
    ] == expected
    count = posted(weave_api, "/calls/query_stats", project_id=project, **{**options, "offset": None, "sort_by": None})
    assert count["count"] == (len(expected) if "offset" not in options else min(7, options.get("limit", 7)))


def test_large_calls_are_read_one_by_one(
    weave_api: httpx.Client, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "BYTES_AT_ONCE", 10_000)
    posted(
        weave_api,
        "/call/upsert_batch",
        batch=[start(project, inputs={"n": at, "text": "x" * size}) for at, size in enumerate((1, 20_000, 5_000, 1))],
    )

    assert sorted(found(weave_api, project)) == [0, 1, 2, 3]


def test_only_requested_columns_are_returned(weave_api: httpx.Client, project: str) -> None:
    started(weave_api, project, inputs={"a": {"b": 1}}, attributes={"c": 2})

    [call] = streamed(weave_api, STREAM, project_id=project, columns=["inputs.a", "wb_user_id", "nothing"])
    [summed] = streamed(weave_api, STREAM, project_id=project, columns=["summary.weave.status"])

    always = {"id", "project_id", "trace_id", "op_name", "started_at", "attributes", "inputs", "deleted_at"}
    assert call.keys() == always | {"wb_user_id"}
    assert (call["inputs"], call["attributes"]) == ({"a": {"b": 1}}, {})
    assert summed.keys() == always | {"summary"}
    assert summed["summary"] == {"weave": {"status": "running", "trace_name": "chat"}}


def test_sizes_are_returned_if_requested(weave_api: httpx.Client, project: str) -> None:
    root = started(weave_api, project, trace_id="t" * 32)
    started(weave_api, project, trace_id="t" * 32, parent_id=root, inputs={"a": 1})

    calls = streamed(weave_api, STREAM, project_id=project, include_storage_size=True, include_total_storage_size=True)
    stats = posted(weave_api, "/calls/query_stats", project_id=project, include_total_storage_size=True)

    sizes = {call["id"] == root: (call["storage_size_bytes"], call["total_storage_size_bytes"]) for call in calls}
    assert sizes == {True: (4, 14), False: (10, None)}
    assert stats == {"count": 2, "total_storage_size_bytes": 14}


def test_costs_and_feedback_are_in_the_summary(weave_api: httpx.Client, project: str) -> None:
    call_id = started(weave_api, project)
    usage = {"m": {"prompt_tokens": 3, "completion_tokens": 2}, "unpriced": {"requests": 1}}
    posted(weave_api, "/call/upsert_batch", batch=[end(project, call_id, summary={"usage": usage})])
    posted(
        weave_api,
        "/cost/create",
        project_id=project,
        costs={"m": {"prompt_token_cost": 2, "completion_token_cost": 0.5, "effective_date": "2026-01-01T00:00:00Z"}},
    )
    note = {"project_id": project, "weave_ref": call_ref(project, call_id), "feedback_type": "stars"}
    posted(weave_api, "/feedback/create", **note, payload={"stars": 1})

    [call] = streamed(weave_api, STREAM, project_id=project, include_costs=True, include_feedback=True)
    read = posted(weave_api, "/call/read", project_id=project, id=call_id, include_costs=True)["call"]

    costs = call["summary"]["weave"]["costs"]
    assert call["summary"]["usage"] == usage
    assert costs["m"].pop("created_at")
    assert costs == {
        "m": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "requests": 0,
            "total_tokens": 0,
            "prompt_tokens_total_cost": 6.0,
            "completion_tokens_total_cost": 1.0,
            "prompt_token_cost": 2.0,
            "completion_token_cost": 0.5,
            "prompt_token_cost_unit": "USD",
            "completion_token_cost_unit": "USD",
            "effective_date": "2026-01-01T00:00:00.000000Z",
            "provider_id": "default",
            "pricing_level": "project",
            "pricing_level_id": project,
            "created_by": "local",
        },
        "unpriced": {"prompt_tokens": 0, "completion_tokens": 0, "requests": 1, "total_tokens": 0},
    }
    assert read["summary"]["weave"]["costs"].keys() == {"m", "unpriced"}
    [feedback] = call["summary"]["weave"]["feedback"]
    assert feedback.keys() == {
        *("id", "feedback_type", "weave_ref", "payload", "creator", "created_at", "wb_user_id"),
        *("runnable_ref", "call_ref", "trigger_ref", "annotation_ref"),
    }
    assert feedback["payload"] == {"stars": 1}


def test_much_feedback_is_read_in_batches(
    weave_api: httpx.Client, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_routes, "_FEEDBACK_ON_CALLS_AT_ONCE", 3)
    counts = [1, 0, 2, 1, 7, 3, 0, 4]
    calls = with_calls(weave_api, project, len(counts))
    pieces = [
        {
            "project_id": project,
            "weave_ref": call_ref(project, call_id),
            "feedback_type": "n",
            "payload": {"n": number},
        }
        for call_id, count in zip(calls, counts, strict=True)
        for number in range(count)
    ]
    for piece in pieces:
        posted(weave_api, "/feedback/create", **piece)

    numbers = [
        [each["payload"]["n"] for each in call["summary"]["weave"]["feedback"]]
        for call in streamed(weave_api, STREAM, project_id=project, include_feedback=True)
    ]

    assert numbers == [list(range(count)) for count in counts]


def test_columns_are_expanded(weave_api: httpx.Client, project: str) -> None:
    obj = {"project_id": project, "object_id": "o", "val": {"x": 7}}
    ref = f"weave:///{project}/object/o:{posted(weave_api, '/obj/create', obj=obj)['digest']}"
    for at in (ref, "plain"):
        started(weave_api, project, inputs={"at": at})
    query = {"$expr": {"$eq": [{"$getField": "inputs.at.x"}, {"$literal": 7}]}}

    [call] = streamed(weave_api, STREAM, project_id=project, expand_columns=["inputs.at"], query=query)
    both = streamed(
        weave_api, STREAM, project_id=project, expand_columns=["inputs.at"], return_expanded_column_values=False
    )

    assert call["inputs"] == {"at": {"x": 7, "_ref": ref}}
    assert {call["inputs"]["at"] for call in both} == {ref, "plain"}
    stats = posted(weave_api, "/calls/query_stats", project_id=project, expand_columns=["inputs.at"], query=query)
    assert stats["count"] == 1


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ({"limit": -1}, 422, "limit: Input should be greater than or equal to 0"),
        ({"offset": -1}, 422, "offset"),
        ({"sort_by": [{"field": "nothing", "direction": "asc"}]}, 400, "nothing"),
        ({"sort_by": [{"field": "id", "direction": "up"}]}, 422, "sort_by.0.direction"),
        ({"sort_by": [{}] * 17}, 400, "sort_by: has 17 keys; the limit is 16"),
        ({"query": {"$expr": {"$eq": [{"$getField": "nothing"}, {"$literal": 1}]}}}, 400, "nothing"),
        ({"query": 5}, 400, "must be an object"),
        ({"filter": {"call_ids": ["a"] * 1001}}, 400, "filter.call_ids: has 1,001 members"),
        ({"project_id": "nowhere"}, 400, "is not a project id"),
        ({"project_id": None}, 422, "project_id"),
    ],
)
def test_invalid_requests_are_refused(
    weave_api: httpx.Client, options: dict[str, Any], status: int, reason: str
) -> None:
    found = refused(weave_api, STREAM, **{"project_id": "acme/empty", **options})

    assert found[0] == status
    assert reason in found[1]


def test_calls_are_renamed_and_deleted(weave_api: httpx.Client, project: str) -> None:
    root, other = with_calls(weave_api, project, 2)
    [(trace_id, _)] = [
        (call["trace_id"], call) for call in streamed(weave_api, STREAM, project_id=project) if call["id"] == root
    ]
    started(weave_api, project, trace_id=trace_id, parent_id=root)

    assert (
        posted(weave_api, "/call/update", project_id=project, call_id=other, display_name="new", wb_user_id=None) == {}
    )
    assert posted(weave_api, "/calls/delete", project_id=project, call_ids=[root, "d" * 16]) == {"num_deleted": 2}

    [left] = streamed(weave_api, STREAM, project_id=project)
    assert (left["id"], left["display_name"]) == (other, "new")
    assert refused(weave_api, "/call/update", project_id=project, call_id=other)[0] == 400
    assert refused(weave_api, "/calls/delete", project_id=project, call_ids=["a" * 16] * 1001)[0] == 400


def test_response_without_calls_is_empty(weave_api: httpx.Client, project: str) -> None:
    answer = weave_api.post(STREAM, json={"project_id": project})

    assert (answer.status_code, answer.content) == (200, b"")
    assert weave_api.post("/calls/query", json={"project_id": project}).content == b'{"calls":[]}'
    assert json.loads(weave_api.post("/calls/query_stats", json={"project_id": project}).content)["count"] == 0


def test_response_that_fails_midway_is_cut_off(
    weave_api: httpx.Client, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "FOUND_AT_ONCE", 2)
    with_calls(weave_api, project, 5)
    page = CallsStore.page
    left = 2

    async def page_until_the_database_is_away(*args: Any, **kwargs: Any) -> Page:
        nonlocal left
        if not left:
            raise UnavailableError("the database is away")
        left -= 1
        return await page(*args, **kwargs)

    monkeypatch.setattr(CallsStore, "page", page_until_the_database_is_away)

    with pytest.raises(httpx.RemoteProtocolError):
        streamed(weave_api, STREAM, project_id=project)
    early = weave_api.post(STREAM, json={"project_id": project})
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    assert early.json() == {"reason": "the database is away"}
