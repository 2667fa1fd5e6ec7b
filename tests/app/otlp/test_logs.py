"""Tests of OTLP logs over HTTP and gRPC: formats, encodings, partial success and refusals."""

import asyncio
import gzip
import json
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import grpc.aio
import httpx
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from stores.otel import LOGS
from tests.app.otlp.conftest import MAX_BODY_BYTES, Receiver
from tests.stores.otel.messages import log, logs_body, logs_request, otlp_json

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
PROMPT = {"session.id": "s", "prompt.id": "p", "prompt": "hello"}


@pytest.fixture
def project() -> str:
    return f"acme/{uuid.uuid4().hex}"


@pytest.mark.parametrize("path", ["/v1/logs", "/otel/v1/logs"])
@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)],
    ids=["identity", "gzip", "deflate"],
)
async def test_protobuf_is_stored_in_every_encoding(
    path: str,
    encoding: str,
    encoded: Callable[[bytes], bytes],
    http: httpx.AsyncClient,
    project: str,
    receiver: Receiver,
) -> None:
    content = encoded(logs_body(log("claude_code.user_prompt", PROMPT)))
    answer = await http.post(
        path, content=content, headers=PROTOBUF | {"content-encoding": encoding, "project_id": project}
    )

    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, PROTOBUF["content-type"], b"")
    [call] = (await receiver.stored(project)).values()
    assert (call["op_name"], call["thread_id"]) == ("invoke_agent Claude Code", "s")


async def test_other_logs_are_counted_in_a_partial_success(http: httpx.AsyncClient, project: str) -> None:
    records = (
        log("claude_code.user_prompt", PROMPT),
        log("", body="plain text"),
        log("other.event"),
        log("gen_ai.choice"),
    )
    headers = {"project_id": project}
    protobuf = await http.post("/v1/logs", content=logs_body(*records), headers=PROTOBUF | headers)
    plain = await http.post("/v1/logs", content=json.dumps(otlp_json(logs_request(*records))), headers=JSON | headers)

    partial = ExportLogsServiceResponse.FromString(protobuf.content).partial_success
    assert (protobuf.status_code, partial.rejected_log_records) == (200, 3)
    assert partial.error_message.startswith("log record gen_ai.choice: gen_ai.choice refers to no span")
    assert (
        "2 log records have no use here: LoomQL stores events of Claude Code (claude_code.*)" in partial.error_message
    )
    assert plain.json() == {
        "partialSuccess": {"rejectedLogRecords": "3", "errorMessage": partial.error_message},
    }


async def test_many_other_logs_get_one_message(http: httpx.AsyncClient, project: str) -> None:
    content = logs_body(*(log("", body=f"line {number}") for number in range(3_000)))
    answer = await http.post("/v1/logs", content=content, headers=PROTOBUF | {"project_id": project})

    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_log_records) == (200, 3_000)
    assert partial.error_message.startswith("3,000 log records have no use here")


@pytest.mark.parametrize(
    ("content", "changes", "status", "reason"),
    [
        (logs_body(log("codex.user_prompt"))[:-3], {}, 400, "is not an ExportLogsServiceRequest in protobuf, or is"),
        (b'{"resourceSpans": []}', JSON, 400, "the request has no resourceLogs; send"),
        (b"{}", {"content-type": "text/plain"}, 415, "send application/x-protobuf or application/json"),
        (bytes(MAX_BODY_BYTES + 1), {}, 413, "raise LOOMQL_MAX_BODY_BYTES"),
        (gzip.compress(bytes(10_000_000)), {"content-encoding": "gzip"}, 413, "export fewer spans or log records"),
        (b"\x0a\x00" * 100_001, {}, 413, "more than 100,000 resources, scopes and log records; send smaller"),
    ],
    ids=["cut", "traces", "text", "large", "zipped", "many"],
)
async def test_bad_request_is_refused(
    content: bytes, changes: dict[str, str], status: int, reason: str, http: httpx.AsyncClient
) -> None:
    answer = await http.post("/v1/logs", content=content, headers=PROTOBUF | changes)

    message = (
        answer.json()["message"]
        if changes == JSON
        else Status.FromString(answer.content).message
        if status != 415
        else answer.text
    )
    assert (answer.status_code, reason in message) == (status, True), message


async def test_grpc_stores_logs(receiver: Receiver, project: str) -> None:
    async with grpc.aio.insecure_channel(receiver.grpc_endpoint.removeprefix("http://")) as channel:
        export: Any = channel.unary_unary(
            f"/{LOGS.service}/Export", response_deserializer=ExportLogsServiceResponse.FromString
        )
        metadata = (("project_id", project),)
        answer = await export(logs_body(log("claude_code.user_prompt", PROMPT), log("other")), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(b"\x0a\xff", metadata=metadata)

    assert answer.partial_success.rejected_log_records == 1
    assert (refused.value.code(), Code.INVALID_ARGUMENT) == (grpc.StatusCode.INVALID_ARGUMENT, 3)
    [call] = (await receiver.stored(project)).values()
    assert call["attributes"]["agent"] == "Claude Code"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_real_exporter_sends_events(protocol: str, receiver: Receiver, project: str) -> None:
    def send() -> None:
        exporter: LogRecordExporter = (
            HttpExporter(f"{receiver.url}/v1/logs", headers={"project_id": project})
            if protocol == "http"
            else GrpcExporter(receiver.grpc_endpoint, insecure=True, headers=(("project_id", project),))
        )
        provider = LoggerProvider(Resource.create({"service.name": "agent"}))
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        logger = provider.get_logger("com.anthropic.claude_code.events")
        logger.emit(LogRecord(timestamp=1_769_860_800_000_000_000, body="claude_code.user_prompt", attributes=PROMPT))
        tokens: dict[str, Any] = {
            "input_tokens": 3,
            "output_tokens": 4,
            "cost_usd": 0.5,
            "model": "m",
            "request_id": "r",
        }
        request = PROMPT | tokens | {"duration_ms": 250}
        logger.emit(LogRecord(timestamp=1_769_860_801_000_000_000, body="claude_code.api_request", attributes=request))
        provider.shutdown()

    await asyncio.to_thread(send)

    root, request = (await receiver.stored(project)).values()
    assert (root["latency_ms"], request["latency_ms"], request["parent_id"]) == (1000, 250, root["id"])
    assert request["summary"]["usage"]["m"]["total_tokens"] == 7
