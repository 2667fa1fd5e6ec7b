"""Tests of exports over HTTP on a real server: complete lists, interruptions and resumed exports."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.exported_project import COUNT, EMPTY, NORMALISED
from tests.stores.calls.builders import PROJECT, call_id, trace_id
from tests.waiting import until

Rows = list[dict[str, Any]]


async def export(client: httpx.AsyncClient, concept: str, **parameters: object) -> tuple[Rows, dict[str, Any]]:
    given = {"projectId": PROJECT, **parameters}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    answer = await client.get(f"/export/{concept}", params=texts)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *rows, last = map(json.loads, answer.text.splitlines())
    return rows, last["loomql_export"]


async def test_each_call_is_exported_once_and_the_last_line_has_the_count(client: httpx.AsyncClient) -> None:
    rows, end = await export(client, "calls")

    assert [row["id"] for row in rows] == [call_id(number) for number in range(COUNT + 1)]
    assert {name: end[name] for name in ("concept", "project_id", "count", "complete", "resumed")} == {
        "concept": "calls",
        "project_id": PROJECT,
        "count": COUNT + 1,
        "complete": True,
        "resumed": False,
    }


async def test_exported_call_has_the_documented_form(client: httpx.AsyncClient) -> None:
    rows, _ = await export(client, "calls", filter={"callIds": [call_id(0), call_id(1), call_id(COUNT)]})

    first, second, running = rows
    assert first == {
        "project_id": PROJECT,
        "id": call_id(0),
        "op_name": "answer",
        "display_name": "first",
        "trace_id": trace_id(0),
        "parent_id": None,
        "thread_id": None,
        "turn_id": None,
        "started_at": "2026-01-31T12:00:00.000000Z",
        "ended_at": "2026-01-31T12:00:00.500000Z",
        "exception": None,
        "attributes": NORMALISED,
        "inputs": {"big": 10**30, "a.b": None, "text": 'quo"te\n'},
        "output": [1, "1", None, 1.5],
        "summary": {
            "weave": {"mine": 1, "status": "success", "display_name": "first", "latency_ms": 500},
            "usage": {"m": {"requests": 1}},
        },
        "wb_user_id": "local",
        "wb_run_id": None,
        "wb_run_step": 7,
        "wb_run_step_end": None,
        "status": "success",
        "latency_ms": 500,
        "trace_name": "first",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "total_cost": None,
        "kind": "llm",
        "model": "m",
        "provider": "openai",
        "user_id": "ada",
        "tags": ["a", "b"],
        "environment": "test",
        "release": "1.2",
        "error_type": None,
        "time_to_first_token_ms": 120.5,
        "finish_reasons": ["stop"],
    }
    assert (second["started_at"], second["ended_at"]) == ("2026-01-31T12:00:01.000001Z", "2026-01-31T12:00:03.000123Z")
    assert (second["exception"], second["summary"]["weave"]["status"]) == ("ValueError: no", "error")
    assert (second["error_type"], second["kind"], second["tags"]) == ("ValueError", None, None)
    assert (running["ended_at"], running["output"], running["summary"]["weave"]["status"]) == (None, None, "running")


async def test_other_lists_can_be_exported(client: httpx.AsyncClient) -> None:
    objects, _ = await export(client, "objects")
    feedback, _ = await export(client, "feedback")
    threads, _ = await export(client, "threads")

    found = [(row["kind"], row["version_index"], row["val"], row["is_latest"]) for row in objects]
    assert found == [("object", 0, "one", 1), ("object", 2, "three", 0), ("op", 0, {"_type": "Op"}, 1)]
    assert {row["payload"].get("note"): row["creator"] for row in feedback} == {"fine": None, None: "Ada"}
    assert threads == [
        {
            "project_id": PROJECT,
            "thread_id": "thread",
            "turn_count": 1,
            "start_time": "2026-01-31T12:00:01.000001Z",
            "last_updated": "2026-01-31T12:00:03.000123Z",
            "first_turn_id": call_id(1),
            "last_turn_id": call_id(1),
            "p50_turn_duration_ms": 2000.122,
            "p99_turn_duration_ms": 2000.122,
        }
    ]


@pytest.mark.parametrize("concept", ["calls", "objects", "feedback", "threads"])
async def test_empty_list_has_only_the_last_line(client: httpx.AsyncClient, concept: str) -> None:
    rows, end = await export(client, concept, projectId=EMPTY)

    assert (rows, end["count"], end["complete"], end["cursor"]) == ([], 0, True, None)


async def test_filter_query_and_sort_match_those_of_the_field(client: httpx.AsyncClient) -> None:
    typed = {"expr": {"lt": [{"getField": "inputs.n"}, {"literal": 7}]}}
    raw = {"json": {"$expr": {"$lt": [{"$getField": "inputs.n"}, {"$literal": 7}]}}}
    sort = [{"field": "inputs.n", "direction": "DESC"}]

    by_typed, _ = await export(client, "calls", query=typed, sortBy=sort, filter={"traceRootsOnly": True})
    by_raw, _ = await export(client, "calls", query=raw, sortBy=sort)
    backward, _ = await export(
        client,
        "calls",
        filter={"opNames": ["answer"]},
        query={"expr": {"gte": [{"getField": "inputs.n"}, {"literal": 100}]}},
        sortBy=[{"field": "started_at", "direction": "DESC"}],
    )
    turns, _ = await export(client, "calls", filter={"threadIds": ["thread"]})
    latest, _ = await export(client, "objects", filter={"latestOnly": True, "isOp": False})

    assert [row["inputs"]["n"] for row in by_typed] == [6, 5, 4, 3, 2]
    assert by_raw == by_typed
    assert [row["inputs"]["n"] for row in backward] == list(range(COUNT - 1, 99, -1))
    assert [row["id"] for row in turns] == [call_id(1)]
    assert [row["val"] for row in latest] == ["one"]


async def test_export_resumes_after_any_row(client: httpx.AsyncClient) -> None:
    whole, _ = await export(client, "calls", cursors="true")

    for number in (49, COUNT - 1):
        rest, end = await export(client, "calls", cursors="true", after=whole[number]["_cursor"])
        assert rest == whole[number + 1 :]
        assert (end["count"], end["resumed"], end["cursor"]) == (COUNT - number, True, whole[-1]["_cursor"])


async def test_export_resumed_after_the_last_row_has_only_the_last_line(client: httpx.AsyncClient) -> None:
    _, end = await export(client, "calls")

    rest, again = await export(client, "calls", after=end["cursor"])

    assert (rest, again["count"], again["complete"], again["cursor"]) == ([], 0, True, end["cursor"])


@pytest.mark.parametrize(
    ("concept", "parameters", "argument", "part"),
    [
        ("calls", {"filter": "{"}, "filter", "not JSON"),
        ("calls", {"filter": '{"opName": ["a"]}'}, "filter", "Did you mean 'opNames'"),
        ("calls", {"filter": '{"callIds": [{}]}'}, "filter.callIds.0", "ID cannot represent"),
        ("calls", {"query": '{"expr":' + 500 * '{"not":[' + 500 * "]}" + "}"}, "query", "deeper than 100 levels"),
        ("calls", {"query": '{"json":' + 900 * '{"a":' + "1" + 901 * "}"}, "query", "deeper than 100 levels"),
        (
            "calls",
            {"query": '{"expr":' + 33 * '{"not":[' + 33 * "]}" + "}"},
            "query.expr" + 32 * ".not.0",
            "deeper than 32 levels",
        ),
        ("calls", {"query": '{"expr": {"not": [{"getField": "no"}]}}'}, "query.expr.not.0.getField", "no"),
        ("calls", {"sortBy": '[{"field": "id", "direction": "UP"}]'}, "sortBy.0.direction", "SortDirection"),
        ("calls", {"sortBy": '[{"field": "nothing", "direction": "ASC"}]'}, "sortBy.0.field", "nothing"),
        ("threads", {"filter": '{"afterDatetime": "noon"}'}, "filter.afterDatetime", "ISO 8601"),
        ("threads", {"query": "{}"}, "query", "is not a parameter of this export"),
        ("calls", {"first": "10"}, "first", "use projectId, filter, query, sortBy, after, cursors, format"),
        ("calls", {"after": "abc"}, "after", "not a cursor of this query"),
        ("calls", {"cursors": "yes"}, "cursors", "not one of false, true"),
        ("calls", {"format": "csv"}, "format", "not one of ndjson, parquet"),
        ("calls", {"projectId": "acme"}, "projectId", "is not a project id"),
    ],
)
async def test_invalid_request_is_refused_before_the_first_byte(
    client: httpx.AsyncClient, concept: str, parameters: dict[str, str], argument: str, part: str
) -> None:
    answer = await client.get(f"/export/{concept}", params={"projectId": PROJECT} | parameters)

    [error] = answer.json()["errors"]
    assert answer.status_code == 400
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert part in error["message"]


async def test_unknown_export_is_not_found(client: httpx.AsyncClient) -> None:
    nowhere = await client.get("/export/costs", params={"projectId": PROJECT})
    of_nothing = await client.get("/export/calls")
    twice = await client.get(f"/export/calls?projectId={PROJECT}&projectId={PROJECT}")

    assert (nowhere.status_code, of_nothing.status_code, twice.status_code) == (404, 400, 400)
    assert "calls, objects, feedback, threads" in nowhere.text
    assert "is required" in of_nothing.text
    assert "is repeated" in twice.text


async def test_head_request_starts_no_export(client: httpx.AsyncClient) -> None:
    answer = await client.head("/export/calls", params={"projectId": PROJECT})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert worker() is None


async def test_exports_over_the_limit_are_refused_until_a_client_disconnects(
    client: httpx.AsyncClient,
) -> None:
    await until(lambda: worker() is None)
    request = "GET", "/export/calls"
    async with (
        client.stream(*request, params={"projectId": PROJECT}) as running,
        client.stream(*request, params={"projectId": PROJECT}) as second,
    ):
        assert (running.status_code, second.status_code) == (200, 200)
        refused = await client.get("/export/calls", params={"projectId": PROJECT})
        small, _ = await export(client, "objects")

    await until(lambda: worker() is None)
    again, _ = await export(client, "calls")

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "LOOMQL_MAX_EXPORTS" in refused.text
    assert (len(small), len(again)) == (3, COUNT + 1)


def worker() -> int | None:
    """Return the process id of the export worker that this process started, or None."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, state = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:  # the process ended after it was listed
            continue
        if b"app.exports.worker" in command and int(state.rpartition(")")[2].split()[1]) == os.getpid():
            return int(folder.name)
    return None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_export_of_a_dead_process_has_no_last_line(client: httpx.AsyncClient) -> None:
    for _ in range(20):
        if await was_killed(client):
            break
    else:
        pytest.fail("each export ended before the test found its process")

    assert worker() is None


async def was_killed(client: httpx.AsyncClient) -> bool:
    """Start an export, kill its process and read on; return False if the export ended before."""
    async with client.stream("GET", "/export/calls", params={"projectId": PROJECT}) as running:
        pid = worker()
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            await running.aread()
        return True
