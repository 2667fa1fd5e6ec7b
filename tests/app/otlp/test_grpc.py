"""Tests of OTLP over gRPC: the same spans, and refusals with gRPC status codes."""

import asyncio
import re
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

from app.observability.requests import RequestCounters
from app.otlp import grpc_server
from app.otlp.grpc_server import GrpcAddress, GrpcError, OtlpGrpc, check_grpc
from app.runtime import Shutdown
from stores.calls import CallsStore
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.otel import LOGS, TRACES, OtelStore, Signal
from stores.security.access import ANONYMOUS_WRITER, Caller, Grant, Role
from stores.timings import Timings
from tests.app.otlp.conftest import MAX_BODY_BYTES, Receiver
from tests.free_ports import free_port
from tests.stores.otel.messages import body, body_of, span, span_id
from tests.waiting import TIMEOUT, until, until_found

Export = Callable[..., Any]
Channel = Any


async def anybody(_authorization: str | None) -> Caller:
    return ANONYMOUS_WRITER


async def channel_to(
    endpoint: str, compression: grpc.Compression | None = None, signal: Signal = TRACES
) -> AsyncIterator[Export]:
    async with grpc.aio.insecure_channel(endpoint.removeprefix("http://"), compression=compression) as channel:
        yield channel.unary_unary(
            f"/{signal.service}/Export", response_deserializer=ExportTraceServiceResponse.FromString
        )


@pytest.fixture
async def export(receiver: Receiver) -> AsyncIterator[Export]:
    async for method in channel_to(receiver.grpc_endpoint, grpc.Compression.Gzip):
        yield method


def status_of(error: grpc.aio.AioRpcError) -> Status:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    return Status.FromString(details)


async def test_valid_spans_are_stored_and_others_are_reported(export: Export, receiver: Receiver) -> None:
    metadata = (("project_id", "acme/over-grpc"),)

    answer = await export(body(span(1), span(2, {"." * 64: 1})), metadata=metadata)
    empty = await export(b"", metadata=metadata)

    assert answer.partial_success.rejected_spans == 1
    assert "has 64 dots" in answer.partial_success.error_message
    assert not empty.HasField("partial_success")
    assert list(await receiver.stored("acme/over-grpc")) == [span_id(1)]


@pytest.mark.parametrize(
    ("content", "project_id", "code", "reason"),
    [
        (body(span(1))[:-3], "acme/chat", grpc.StatusCode.INVALID_ARGUMENT, "truncated"),
        (body(span(1)), "nonsense", grpc.StatusCode.INVALID_ARGUMENT, "'nonsense' is not a project id"),
        (bytes(MAX_BODY_BYTES + 1), "acme/chat", grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)
async def test_invalid_message_is_refused(
    content: bytes, project_id: str, code: grpc.StatusCode, reason: str, export: Export
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(content, metadata=(("project_id", project_id),))

    assert caught.value.code() == code
    assert reason in (caught.value.details() or "")


@pytest.mark.parametrize("signal", [TRACES, LOGS], ids=["spans", "logs"])
async def test_request_to_a_full_server_gets_retry_after(signal: Signal, calls: CallsStore) -> None:
    address, request_budget = GrpcAddress("127.0.0.1", free_port()), RequestBudget(100_000)
    with request_budget.reservation() as reservation:
        async with OtlpGrpc(address, OtelStore(calls), MAX_BODY_BYTES, "otel", request_budget, anybody):
            async for export in channel_to(str(address), signal=signal):
                reservation.reserve_now(FREE_BYTES + 100_000)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await export(body_of(signal, "x" * 16_000))
                reservation.release()
                await export(body_of(signal))

    status, retry = status_of(caught.value), RetryInfo()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 1


async def test_requests_have_ids_and_are_counted_with_their_errors(calls: CallsStore) -> None:
    address, counters = GrpcAddress("127.0.0.1", free_port()), RequestCounters()

    async def ids_of(call: Any) -> object:
        return dict(await call.trailing_metadata())["x-request-id"]

    async with OtlpGrpc(address, OtelStore(calls), MAX_BODY_BYTES, "otel", RequestBudget(), anybody, counters=counters):
        async for export in channel_to(str(address)):
            project = ("project_id", "acme/counted")
            kept = await ids_of(export(body(span(1)), metadata=(project, ("x-request-id", "mine"))))
            new = await ids_of(export(body(span(2)), metadata=(project, ("x-request-id", "no id"))))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await export(body(span(1)), metadata=(("project_id", "nonsense"), ("x-request-id", "bad")))

    assert kept == "mine"
    assert re.fullmatch(r"[0-9a-f]{16}-1", str(new))
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "bad"
    assert counters.answered == {("otlp-grpc", "", "OK"): 2, ("otlp-grpc", "", "FAILED"): 1}
    assert counters.errors == {("otlp-grpc", "BAD_USER_INPUT"): 1}
    assert counters.timings["otlp-grpc", ""].sum > 0
    assert +counters.in_flight == {}


async def test_stopping_server_refuses_new_requests_and_finishes_open_ones(calls: CallsStore) -> None:
    address, counters, shutdown = GrpcAddress("127.0.0.1", free_port()), RequestCounters(), Shutdown()
    goes_on, name = asyncio.Event(), f"/{TRACES.service}/Export"

    async def slowly() -> AsyncIterator[bytes]:
        await goes_on.wait()
        yield body(span(1))

    async def is_refused() -> bool:
        async for export in channel_to(str(address)):
            try:
                await export(b"")
            except grpc.aio.AioRpcError as error:
                return bool(error.code() == grpc.StatusCode.UNAVAILABLE)
        return False

    async with (
        OtlpGrpc(
            address, OtelStore(calls), MAX_BODY_BYTES, "otel", RequestBudget(), anybody, None, counters, shutdown, 60
        ),
        grpc.aio.insecure_channel(str(address)) as channel,
    ):
        export: Export = channel.stream_unary(name)
        there = export(slowly(), metadata=(("project_id", "acme/there"),))
        await until(lambda: counters.in_flight["otlp-grpc"] == 1)
        shutdown.start()
        await until_found(is_refused)
        goes_on.set()
        await there

    assert await calls.count("acme/there", None, None) == 1


@pytest.fixture
def counters() -> RequestCounters:
    return RequestCounters()


@pytest.fixture
async def one_by_one(
    calls: CallsStore, counters: RequestCounters, monkeypatch: pytest.MonkeyPatch, timings: Timings
) -> AsyncIterator[Channel]:
    """Yield a channel to a server that receives one message at a time."""
    monkeypatch.setattr(grpc_server, "_COMING_AT_ONCE", 1)
    address, budget = GrpcAddress("127.0.0.1", free_port()), RequestBudget()
    async with (
        OtlpGrpc(
            address, OtelStore(calls), MAX_BODY_BYTES, "otel", budget, anybody, counters=counters, timings=timings
        ),
        grpc.aio.insecure_channel(str(address)) as channel,
    ):
        yield channel


async def test_messages_are_processed_one_at_a_time(one_by_one: Channel, counters: RequestCounters) -> None:
    goes_on, name = asyncio.Event(), f"/{TRACES.service}/Export"

    async def slowly() -> AsyncIterator[bytes]:
        await goes_on.wait()
        yield body(span(1))

    first = one_by_one.stream_unary(name)(slowly())
    await until(lambda: counters.in_flight["otlp-grpc"] == 1)  # only its message is missing
    second = asyncio.ensure_future(one_by_one.unary_unary(name)(body(span(2))))
    await until(lambda: counters.in_flight["otlp-grpc"] == 2)
    early, _ = await asyncio.wait([second], timeout=0.3)
    goes_on.set()

    assert await first == b""
    assert not early
    assert await second == b""


@pytest.mark.timings(message_seconds=1)
async def test_message_that_never_comes_frees_its_slot(one_by_one: Channel, counters: RequestCounters) -> None:
    name = f"/{TRACES.service}/Export"

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    first = one_by_one.stream_unary(name)(never())
    await until(lambda: counters.in_flight["otlp-grpc"] == 1 or first.done())
    second = await one_by_one.unary_unary(name)(body(span(2)))

    assert second == b""
    with pytest.raises(grpc.aio.AioRpcError, match="not whole after 1 seconds; send it again") as caught:
        await first
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.timings(slot_wait_seconds=0.2)
async def test_request_waits_for_a_slot_for_some_seconds(one_by_one: Channel, counters: RequestCounters) -> None:
    name = f"/{TRACES.service}/Export"

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    first = one_by_one.stream_unary(name)(never())
    await until(lambda: counters.in_flight["otlp-grpc"] == 1)  # only its message is missing
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(grpc.aio.AioRpcError, match="1 messages over gRPC are on their way") as refused:
            await one_by_one.unary_unary(name)(body(span(2)))
    first.cancel()

    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_message_waiting_for_memory_blocks_no_other(calls: CallsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "_COMING_AT_ONCE", 1)
    address, name = GrpcAddress("127.0.0.1", free_port()), f"/{TRACES.service}/Export"
    request_budget = RequestBudget(100_000, timings=Timings(budget_wait_seconds=60))
    async with (
        OtlpGrpc(address, OtelStore(calls), MAX_BODY_BYTES, "otel", request_budget, anybody),
        grpc.aio.insecure_channel(str(address)) as channel,
    ):
        export: Export = channel.unary_unary(name)
        with request_budget.reservation() as others:
            others.reserve_now(FREE_BYTES + 100_000)
            large = asyncio.ensure_future(export(body(span(1, {"input.value": "x" * 12_000}))))
            await asyncio.sleep(0.2)
            async with asyncio.timeout(TIMEOUT):
                small = await export(body(span(2)))
            was_waiting = not large.done()
        stored = await large

    assert (small, was_waiting, stored) == (b"", True, b"")


async def test_slow_messages_of_one_caller_leave_slots_for_another(calls: CallsStore) -> None:
    address, name = GrpcAddress("127.0.0.1", free_port()), f"/{TRACES.service}/Export"

    async def admit(authorization: str | None) -> Caller:
        return Caller(str(authorization), (Grant("*", Role.WRITER),))

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with (
        OtlpGrpc(
            address,
            OtelStore(calls),
            MAX_BODY_BYTES,
            "otel",
            RequestBudget(),
            admit,
            counters=(counters := RequestCounters()),
        ),
        grpc.aio.insecure_channel(str(address)) as channel,
    ):
        slowly: Export = channel.stream_unary(name)
        export: Export = channel.unary_unary(name)
        slow = [slowly(never(), metadata=(("authorization", "a"),)) for _ in range(6)]
        await until(lambda: counters.in_flight["otlp-grpc"] == 6)
        async with asyncio.timeout(TIMEOUT):
            stored = await export(body(span(1)), metadata=(("authorization", "b"),))
        for call in slow:
            call.cancel()

    assert stored == b""


async def test_decompression_bomb_is_refused(export: Export, receiver: Receiver) -> None:
    metadata = (("project_id", "acme/large-over-grpc"),)

    with pytest.raises(grpc.aio.AioRpcError) as bomb:
        await export(bytes(MAX_BODY_BYTES * 4), metadata=metadata)  # the channel compresses it to a few kilobytes
    with pytest.raises(grpc.aio.AioRpcError) as countless:
        await export(b"\x0a\x00" * 100_001, metadata=metadata)
    await export(body(span(1)), metadata=metadata)

    assert [error.value.code() for error in (bomb, countless)] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
    assert "send smaller requests" in (countless.value.details() or "")
    assert list(await receiver.stored("acme/large-over-grpc")) == [span_id(1)]


async def test_port_in_use_is_named(calls: CallsStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = GrpcAddress("127.0.0.1", taken.getsockname()[1])
        reason = f"cannot listen on {address} for OTLP over gRPC: stop what uses it"
        with pytest.raises(GrpcError, match=reason):
            check_grpc(address)
        with pytest.raises(GrpcError, match=reason):
            async with OtlpGrpc(address, OtelStore(calls), MAX_BODY_BYTES, "otel", RequestBudget(), anybody):
                pytest.fail("it listens")


def test_missing_grpcio_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['grpc', 'grpc.aio']))\n"
        "from app.otlp.grpc_server import *\n"
        "check_grpc(GrpcAddress('127.0.0.1', 1))\n"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "LOOMQL_OTLP_GRPC_PORT is set, but grpcio is not installed: pip install 'loomql[grpc]'" in ended.stderr
