"""Tests of OTLP over HTTP against the specification: formats, encodings, responses and refusals."""

import asyncio
import gzip
import json
import re
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from app.http.request_body import Decompression
from app.otlp import endpoint
from app.server.application import create_app
from app.settings import Settings
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.errors import BadInputError
from stores.otel import LOGS, TRACES, Signal
from stores.timings import Timings
from tests.app.observability.samples import read_samples, sample
from tests.app.otlp.conftest import MAX_BODY_BYTES, Receiver
from tests.live_server import live_server
from tests.stores.otel.messages import PATHS, body, body_of, otlp_json, request, span, span_id
from tests.waiting import TIMEOUT, until_found

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
TOO_DEEP = {"." * 64: 1}


@pytest.fixture
def headers() -> dict[str, str]:
    """Return the headers of a protobuf request to a project that only this test uses."""
    return PROTOBUF | {"project_id": f"acme/{uuid.uuid4().hex}"}


def raw_deflate(content: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(content) + stream.flush()


@pytest.mark.parametrize("path", ["/v1/traces", "/otel/v1/traces", "/weave/agents/otel/v1/traces"])
@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        (None, bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("gzip", lambda content: gzip.compress(content[:10]) + gzip.compress(content[10:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
    ids=["none", "identity", "gzip", "gzip in members", "deflate", "raw deflate"],
)
async def test_protobuf_is_stored_in_every_encoding(
    path: str,
    encoding: str | None,
    encoded: Callable[[bytes], bytes],
    http: httpx.AsyncClient,
    headers: dict[str, str],
    receiver: Receiver,
) -> None:
    if encoding:
        headers |= {"content-encoding": encoding}
    answer = await http.post(path, content=encoded(body(span(1, {"input.value": "hi"}))), headers=headers)

    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, PROTOBUF["content-type"], b"")
    [call] = (await receiver.stored(headers["project_id"])).values()
    assert (call["id"], call["inputs"]) == (span_id(1), {"input.value": "hi"})


def test_raw_deflate_in_any_chunks_is_decompressed() -> None:
    for beyond in range(0, 260, 4):
        content = bytes(256 * 1024 + beyond)
        decompression = Decompression("deflate")

        parts = list(decompression.parts(raw_deflate(content)))
        decompression.check_end()

        assert b"".join(parts) == content, beyond


async def test_json_is_stored_and_gets_a_json_response(
    http: httpx.AsyncClient, headers: dict[str, str], receiver: Receiver
) -> None:
    whole = otlp_json(request(span(1), span(2, TOO_DEEP)))
    headers |= JSON
    answer = await http.post(
        "/v1/traces", content=gzip.compress(json.dumps(whole).encode()), headers=headers | {"content-encoding": "gzip"}
    )
    empty = await http.post("/v1/traces", content=b"{}", headers=headers)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "1"
    assert partial["errorMessage"].startswith("span 0000000000000002 (step 2): the key")
    assert (empty.status_code, empty.json()) == (200, {})
    assert list(await receiver.stored(headers["project_id"])) == [span_id(1)]


async def test_partial_success_has_count_and_reason(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.post("/v1/traces", content=body(span(1), span(2, TOO_DEEP)), headers=headers)

    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_spans) == (200, 1)
    assert "has 64 dots; the limit is 63" in partial.error_message


async def test_span_of_20_mb_is_refused_for_its_size(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    large = body(span(1, {"input.value": "x" * 20_000_000}))

    answer = await http.post(
        "/v1/traces", content=gzip.compress(large, 1), headers=headers | {"content-encoding": "gzip"}
    )

    assert answer.status_code == 413
    assert Status.FromString(answer.content).code == Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("content", "changes", "status", "reason"),
    [
        (body(span(1))[:-3], {}, 400, "the body is not an ExportTraceServiceRequest in protobuf, or is truncated"),
        (gzip.compress(body(span(1)))[:-9], {"content-encoding": "gzip"}, 400, "cut off before the end of its gzip"),
        (body(span(1)), {"content-encoding": "gzip"}, 400, "the body is not gzip"),
        (gzip.compress(b"") * 1_001, {"content-encoding": "gzip"}, 400, "more than 1,000 members of gzip; compress it"),
        (b"x", {"content-encoding": "br"}, 415, "Content-Encoding 'br' is not known; send gzip, deflate or neither"),
        (gzip.compress(bytes(40_000_000), 9), {"content-encoding": "gzip"}, 413, "4,000,000 bytes once it is"),
        (zlib.compress(bytes(40_000_000), 9), {"content-encoding": "deflate"}, 413, "4,000,000 bytes once it is"),
        (bytes(MAX_BODY_BYTES + 1), {}, 413, "raise LOOMQL_MAX_BODY_BYTES"),
        (body(span(1)), {"project_id": "nonsense"}, 400, "project_id: 'nonsense' is not a project id; write entity/"),
        (b"{", JSON, 400, "not JSON"),
        (b"[]", JSON, 400, "the request must be a JSON object"),
        (b'{"resource_spans": []}', JSON, 400, "the request has no resourceSpans"),
        (b'{"resourceSpans": [' + b"{}," * 600_000 + b"{}]}", JSON, 413, "more than 500,000 values; export"),
        (b"\x0a\x00" * 100_001, {}, 413, "more than 100,000 resources, scopes and spans; send smaller"),
    ],
    ids=[
        *(
            "cut protobuf",
            "cut gzip",
            "no gzip",
            "empty members",
            "unknown encoding",
            "bomb of gzip",
            "bomb of deflate",
            "too large",
        ),
        *("no project", "no JSON", "no object", "names of protobuf"),
        *("countless values", "countless resources"),
    ],
)
async def test_invalid_body_is_refused_in_the_senders_format(
    content: bytes, changes: dict[str, str], status: int, reason: str, http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    sent = headers | changes

    answer = await http.post("/v1/traces", content=content, headers=sent)

    assert (answer.status_code, answer.headers["content-type"]) == (status, sent["content-type"])
    is_json = sent["content-type"] == JSON["content-type"]
    message = answer.json()["message"] if is_json else Status.FromString(answer.content).message
    assert reason in message
    assert "retry-after" not in answer.headers


async def test_memory_of_dense_json_is_reserved() -> None:
    room = RequestBudget()
    text = bytearray(b"[" + b"{}," * 99_999 + b"{}]")

    with room.reservation() as reservation:
        assert await endpoint._read(text, reservation) == [{}] * 100_000
        assert room.reserved_bytes == 100_000 * 72 + 64 - 2 * len(text) - 4096 - FREE_BYTES


@pytest.mark.parametrize("content_type", ["text/plain", "application/grpc", ""])
async def test_unsupported_media_type_is_refused(content_type: str, http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/traces", content=body(span(1)), headers={"content-type": content_type})

    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/json")
    assert answer.json()["message"].startswith("send application/x-protobuf or application/json")


def test_empty_protobuf_fields_take_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    created, decompressobj = Counter[int](), zlib.decompressobj

    def counted(wbits: int) -> object:
        created[wbits] += 1
        return decompressobj(wbits)

    monkeypatch.setattr(zlib, "decompressobj", counted)
    with pytest.raises(BadInputError, match="more than 1,000 members of gzip"):
        list(Decompression("gzip").parts(gzip.compress(b"") * 100_000))

    assert created == {31: 1_000}


async def test_compressed_size_is_limited_though_it_decompresses_to_nothing(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    empty_block, last_block, check = b"\x00\x00\x00\xff\xff", b"\x01\x00\x00\xff\xff", bytes(8)

    async def chunks() -> AsyncIterator[bytes]:
        yield gzip.compress(b"")[:10]
        for _ in range(100):
            yield empty_block * 10_000
        yield last_block + check

    answer = await http.post("/v1/traces", content=chunks(), headers=headers | {"content-encoding": "gzip"})

    assert answer.status_code == 413
    assert "larger than 4,000,000 bytes as it is sent" in Status.FromString(answer.content).message


async def test_large_body_is_decompressed_in_a_thread(
    http: httpx.AsyncClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    class Watched(Decompression):
        def parts(self, piece: bytes) -> Iterator[bytes]:
            for part in super().parts(piece):
                threads.add(threading.get_ident())
                yield part

    async def threads_for(size: int) -> int:
        threads.clear()
        content = gzip.compress(body(span(1, {"input.value": "x" * size})))
        answer = await http.post("/v1/traces", content=content, headers=headers | {"content-encoding": "gzip"})
        assert answer.status_code == 200
        return len(threads)

    monkeypatch.setattr("app.http.request_body.Decompression", Watched)

    assert await threads_for(100_000) == 1
    assert await threads_for(1_000_000) > 1


@pytest.mark.parametrize("prefix", ["", "/otel"])
async def test_metrics_name_the_variable_that_disables_them(prefix: str, http: httpx.AsyncClient) -> None:
    answers = [
        await http.post(f"{prefix}/v1/metrics", content=b"{}", headers=headers) for headers in (PROTOBUF, JSON, {})
    ]

    message = (
        "LoomQL stores traces and logs only; set OTEL_METRICS_EXPORTER=none in the environment of the program that "
        "sends metrics"
    )
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert answers[0].headers["content-type"] == "application/x-protobuf"
    assert Status.FromString(answers[0].content) == Status(code=Code.NOT_FOUND, message=message)
    assert answers[1].json() == answers[2].json() == {"code": Code.NOT_FOUND, "message": message}
    assert all("retry-after" not in answer.headers for answer in answers)


async def test_real_exporter_of_metrics_does_not_retry(
    receiver: Receiver, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)

    async def refused() -> int:
        metrics = (await http.get("/metrics")).text
        return sum(
            int(count) for count in re.findall(r'errors_total\{code="NOT_FOUND",endpoint="otlp"\} (\d+)', metrics)
        )

    before = await refused()
    measured = await asyncio.to_thread(OTLPMetricExporter().export, MetricsData([]))

    assert measured == MetricExportResult.FAILURE
    assert await refused() == before + 1


async def test_only_post_is_allowed(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/traces")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.fixture
async def narrow(mongodb_uri: str, database_name: str, timings: Timings) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a server with room for one body of 100,000 bytes at a time."""
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_pending_bytes=100_000)
    with live_server(create_app(settings, timings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


async def has_reserved(client: httpx.AsyncClient) -> bool:
    return (await read_samples(client))[sample("loomql_in_use", resource="pending_bytes")] > 80_000


@pytest.mark.parametrize("signal", [TRACES, LOGS], ids=["spans", "logs"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.timings(budget_wait_seconds=0.05)
async def test_sender_over_the_limit_gets_retry_after(narrow: httpx.AsyncClient, encoding: str, signal: Signal) -> None:
    path, sent = PATHS[signal], body_of(signal, "x" * (80_000 + FREE_BYTES))
    headers = PROTOBUF | {"content-encoding": encoding}
    content = gzip.compress(sent) if encoding == "gzip" else sent
    goes_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield sent[:-1]
        await goes_on.wait()
        yield sent[-1:]

    slow = asyncio.create_task(narrow.post(path, content=slowly(), headers=PROTOBUF))
    await until_found(lambda: has_reserved(narrow))
    refused = await narrow.post(path, content=content, headers=headers)
    goes_on.set()
    answers = [await slow, await narrow.post(path, content=content, headers=headers)]

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    status = Status.FromString(refused.content)
    assert status.code == Code.RESOURCE_EXHAUSTED
    assert "one of your requests in flight takes more than a quarter of LOOMQL_MAX_PENDING_BYTES" in status.message
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_missing_database_returns_a_retryable_error() -> None:
    settings = Settings(mongodb_uri="mongodb://127.0.0.1:1", database_timeout_seconds=0.5)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            answer = await client.post("/v1/traces", content=body(span(1)), headers=PROTOBUF)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert Status.FromString(answer.content).code == Code.UNAVAILABLE
