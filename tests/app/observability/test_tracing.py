"""Tests of a LoomQL that sends its own traces to its own OTLP endpoint."""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest

from app.observability.tracing import Tracing, TracingError
from tests.app.command import serving
from tests.free_ports import free_port
from tests.waiting import TIMEOUT

QUERY = "{ projects { nodes { id } } }"
SPANS = """{ calls(projectId: "loomql/self", first: 1000) { nodes { id parentId traceId opName attributes } } }"""
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_requests_and_commands_are_traced_but_not_span_uploads(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    port = free_port()
    own = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_OTEL_ENDPOINT": f"http://127.0.0.1:{port}/v1/traces",
        "LOOMQL_OTEL_SERVICE_NAME": "self",
        "LOOMQL_OTLP_ENTITY": "loomql",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with serving(tmp_path / "out", "--port", str(port), **own):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT) as client:
            sent = {"traceparent": PARENT, "X-Request-ID": "mine"}
            await client.post("/graphql", json={"query": QUERY, "variables": {"secret": "hush"}}, headers=sent)
            async with asyncio.timeout(TIMEOUT):
                spans: list[dict[str, str]] = []
                # The span of the command ends before that of its request, so it may arrive in an earlier batch.
                while not {"find projects", "POST graphql"} <= {span["opName"] for span in spans}:
                    answer = await client.post("/graphql", json={"query": SPANS})
                    spans = answer.json()["data"]["calls"]["nodes"]
                    mine = [span for span in spans if span["traceId"] == PARENT[3:35]]
                    spans = mine
            [request] = [span for span in spans if span["opName"] == "POST graphql"]
            everything = (await client.post("/graphql", json={"query": SPANS})).json()["data"]["calls"]["nodes"]

    attributes = json.dumps(request["attributes"])
    assert '"mine"' in attributes
    assert "projects" in attributes
    # The trace may also contain a read of the keys, if the last one is some time ago.
    [operation] = [span for span in spans if span["parentId"] == request["id"] and span["opName"] == "projects"]
    assert [span["opName"] for span in spans if span["parentId"] == operation["id"]] == ["find projects"]
    assert not [span for span in everything if span["opName"] == "POST otlp"]
    assert "hush" not in json.dumps(everything)


def test_missing_sdk_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(TracingError, match="pip install 'loomql"):
        Tracing("http://127.0.0.1:9/v1/traces", "loomql")
