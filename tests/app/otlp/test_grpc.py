"""OTLP over gRPC: the same spans, and gRPC's own ways to refuse them."""

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from app.otlp.grpc_server import SERVICE, GrpcAddress, GrpcError, check_grpc, traces_over_grpc
from stores.calls import CallsStore
from stores.intake import Intake
from stores.otel import OtelStore
from tests.app.otlp.conftest import MAX_BODY_BYTES, Receiver
from tests.stores.otel.messages import body, span, span_id

Export = Callable[..., Any]


async def channel_to(endpoint: str, compression: grpc.Compression | None = None) -> AsyncIterator[Export]:
    async with grpc.aio.insecure_channel(endpoint.removeprefix("http://"), compression=compression) as channel:
        yield channel.unary_unary(f"/{SERVICE}/Export", response_deserializer=ExportTraceServiceResponse.FromString)


@pytest.fixture
async def export(receiver: Receiver) -> AsyncIterator[Export]:
    async for method in channel_to(receiver.grpc_endpoint, grpc.Compression.Gzip):
        yield method


def status_of(error: grpc.aio.AioRpcError) -> Status:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    return Status.FromString(details)


async def test_valid_spans_are_stored_and_others_are_told(export: Export, receiver: Receiver) -> None:
    metadata = (("project_id", "acme/over-grpc"),)

    answer = await export(body(span(1), span(2, {"a": 1, "a.b": 2})), metadata=metadata)
    empty = await export(b"", metadata=metadata)

    assert answer.partial_success.rejected_spans == 1
    assert "attributes conflict" in answer.partial_success.error_message
    assert not empty.HasField("partial_success")
    assert list(await receiver.stored("acme/over-grpc")) == [span_id(1)]


@pytest.mark.parametrize(
    ("content", "project_id", "code", "reason"),
    [
        (body(span(1))[:-3], "acme/chat", grpc.StatusCode.INVALID_ARGUMENT, "cut off"),
        (body(span(1)), "nonsense", grpc.StatusCode.INVALID_ARGUMENT, "'nonsense' is not a project id"),
        (bytes(MAX_BODY_BYTES + 1), "acme/chat", grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    content: bytes, project_id: str, code: grpc.StatusCode, reason: str, export: Export
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(content, metadata=(("project_id", project_id),))

    assert caught.value.code() == code
    assert reason in (caught.value.details() or "")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


async def test_who_comes_while_it_is_full_is_told_when_to_come_again(calls: CallsStore) -> None:
    address, intake = GrpcAddress("127.0.0.1", free_port()), Intake(100_000)
    with intake.share() as share:
        async with traces_over_grpc(address, OtelStore(calls), MAX_BODY_BYTES, "otel", intake):
            async for export in channel_to(str(address)):
                share.grow(100_000)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await export(body(span(1, {"input.value": "x" * 100_000})))
                share.close()
                await export(body(span(1)))

    status, retry = status_of(caught.value), RetryInfo()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 1


async def test_a_port_that_is_taken_is_named(calls: CallsStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = GrpcAddress("127.0.0.1", taken.getsockname()[1])
        reason = f"cannot listen on {address} for OTLP over gRPC: stop what uses it"
        with pytest.raises(GrpcError, match=reason):
            check_grpc(address)
        with pytest.raises(GrpcError, match=reason):
            async with traces_over_grpc(address, OtelStore(calls), MAX_BODY_BYTES, "otel", Intake()):
                pytest.fail("it listens")


def test_without_grpcio_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['grpc', 'grpc.aio']))\n"
        "from app.otlp.grpc_server import *\n"
        "check_grpc(GrpcAddress('127.0.0.1', 1))\n"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 -- the code stands above

    assert "LOOMQL_OTLP_GRPC_PORT is set, but grpcio is not installed: pip install 'loomql[grpc]'" in ended.stderr
