"""Tests of log requests with a million attributes: a clear reason, little memory, and answers to other requests."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.app.command import Server, serving
from tests.database_pool import DatabasePool
from tests.stores.otel.messages import log, logs_body, logs_request

MIB = 1024 * 1024
MANY = b"".join(b"\x32\x0c\x0a\x06%06x\x12\x02\x18\x01" % number for number in range(9_990))
"""Encoded attributes of a record with different keys and the value 1."""

PROTOBUF, JSON = "application/x-protobuf", "application/json"


@pytest.fixture(scope="module")
def server(mongodb_uri: str, databases: DatabasePool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server process with the default limits."""
    name, folder = databases.take(), tmp_path_factory.mktemp("server")
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": name}
    with serving(folder / "output", "--data-dir", str(folder / "data"), **own) as server:
        yield server
    databases.release(name)


def of_one_record() -> bytes:
    return logs_body(with_attributes(log("codex.user_prompt", {"conversation.id": "s"}), b"\x32\x00" * 1_000_000))


def of_records_of_every_kind() -> bytes:
    names = {"session.id": "s", "prompt": "hi"}
    prompts = [log("claude_code.user_prompt", names | {"prompt.id": f"{number}"}) for number in range(34)]
    messages = [log("gen_ai.user.message", {}, number + 1) for number in range(34)]
    others = [log("other") for _ in range(34)]
    return logs_body(*(with_attributes(record, MANY) for record in [*prompts, *messages, *others]))


def of_a_resource() -> bytes:
    request = logs_request(log("codex.user_prompt", {"conversation.id": "s"}))
    request.resource_logs[0].resource.MergeFromString(b"\x0a\x00" * 1_000_000)
    return request.SerializeToString()


def of_json() -> bytes:
    attributes = b'{"key":"a"},' * 999_999 + b'{"key":"a"}'
    return b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[' + attributes + b"]}]}]}]}"


def with_attributes(record: LogRecord, attributes: bytes) -> LogRecord:
    """Add encoded attributes, which is faster than to build a message for each."""
    record.MergeFromString(attributes)
    return record


@pytest.mark.parametrize(
    ("content_of", "media_type", "status", "rejected", "reason"),
    [
        (of_one_record, PROTOBUF, 200, 1, "a log record: has 1,000,001 attributes; the limit is 10,000"),
        (of_records_of_every_kind, PROTOBUF, 200, 34, "34 log records have no use here: LoomQL stores events of"),
        (of_a_resource, PROTOBUF, 200, 1, "its resource has 2,000,000 bytes; the limit is 65,536. Keep large"),
        (of_json, JSON, 413, 0, "the body has more than 500,000 values; export fewer spans or log records at once"),
    ],
    ids=["one record", "records of every kind", "a resource", "JSON"],
)
async def test_million_attributes_get_a_clear_answer_and_other_requests_theirs(
    content_of: Callable[[], bytes], media_type: str, status: int, rejected: int, reason: str, server: Server
) -> None:
    content, project_id = content_of(), f"acme/{uuid.uuid4().hex}"
    before = memory(server, "VmRSS")
    forget_peak_memory(server)
    async with httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=120) as client:
        headers = {"content-type": media_type, "project_id": project_id}
        sending = asyncio.create_task(client.post("/v1/logs", content=content, headers=headers))
        while not sending.done():
            assert (await client.get("/healthz")).status_code == 200
            await asyncio.sleep(0.01)
        answer = await sending

    assert answer.status_code == status
    if status == 200:
        partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
        assert (partial.rejected_log_records, reason in partial.error_message) == (rejected, True), partial
    else:
        assert reason in answer.json()["message"]
    assert memory(server, "VmHWM") - before < 160 * MIB
    assert "Traceback" not in server.output.read_text()


def forget_peak_memory(server: Server) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def memory(server: Server, line: str) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) * 1024
