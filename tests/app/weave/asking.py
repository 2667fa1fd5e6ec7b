"""Requests and batch items for the tests of the Weave API."""

import json
import uuid
from typing import Any

import httpx

MOMENT = "2026-01-02T03:04:05.678901Z"


def graphql_data(client: httpx.Client, document: str, **variables: Any) -> Any:
    """Return the data of a GraphQL response without errors."""
    answer = client.post("/graphql", json={"query": document, "variables": variables}).json()
    assert "errors" not in answer, answer
    return answer["data"]


def posted(weave_api: httpx.Client, path: str, **body: Any) -> Any:
    """Send a request to the API, require status 200 and return the response."""
    answer = weave_api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(weave_api: httpx.Client, path: str, **body: Any) -> tuple[int, str]:
    """Send a request and return the status and the reason of its refusal."""
    answer = weave_api.post(path, json=body)
    return answer.status_code, answer.json()["reason"]


def streamed(weave_api: httpx.Client, path: str, **body: Any) -> list[Any]:
    """Send a request and return the lines of the response."""
    answer = weave_api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


def start(project: str, **fields: object) -> dict[str, Any]:
    """Return the start of a call as a batch item, with new ids unless they are given."""
    made: dict[str, object] = {
        "project_id": project,
        "id": str(uuid.uuid4()),
        "trace_id": str(uuid.uuid4()),
        "op_name": "chat",
        "started_at": MOMENT,
        "attributes": {},
        "inputs": {},
        "display_name": None,
        "wb_user_id": None,
        "otel_dump": None,
    }
    return {"mode": "start", "req": {"start": made | fields}}


def end(project: str, call_id: str, **fields: object) -> dict[str, Any]:
    """Return the end of a call as a batch item."""
    made: dict[str, object] = {
        "project_id": project,
        "id": call_id,
        "ended_at": MOMENT,
        "summary": {},
        "exception": None,
        "output": None,
    }
    return {"mode": "end", "req": {"end": made | fields}}


def started(weave_api: httpx.Client, project: str, **fields: object) -> str:
    """Start a call and return its id."""
    [result] = posted(weave_api, "/call/upsert_batch", batch=[start(project, **fields)])["res"]
    return str(result["id"])


def call_ref(project: str, call_id: str) -> str:
    return f"weave:///{project}/call/{call_id}"
