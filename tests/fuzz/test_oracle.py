"""Tests of the checks that hold for every answer."""

import json
from dataclasses import replace

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from tests.fuzz.callers import OPERATOR, Caller
from tests.fuzz.endpoints import websocket
from tests.fuzz.oracle import problems
from tests.fuzz.wire import Answer, Request

GRAPHQL = Request("graphql", "POST", "/graphql")
LISTENING = Request("graphql", "POST", "/graphql", reads_for=0.2)
WEAVE = Request("weave", "POST", "/weave/calls/stream_query")
OTLP = Request("otlp", "POST", "/v1/traces")
INTERNAL = {"errors": [{"message": "KeyError in pymongo", "extensions": {"code": "INTERNAL"}}]}
TOLD = "it tells of 'KeyError': 'KeyError in pymongo'"


def answer(body: bytes, media_type: str = "application/json", status: int = 200, *, is_whole: bool = True) -> Answer:
    return Answer(status, {"content-type": f"{media_type}; charset=utf-8"}, body, is_whole)


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b'"\\ud800"', b'"\xff"', b"1e999"])
def test_text_rejected_by_strict_parsers_is_not_json(value: bytes) -> None:
    result = b'{"data": {"x": %s}}' % value

    assert problems(GRAPHQL, answer(b'{"data": {"x": 18446744073709551616, "y": "\\ud83d\\ude00"}}')) == []
    [found] = problems(GRAPHQL, answer(result))
    assert found.startswith("the answer is no application/json: ")
    [found] = problems(WEAVE, answer(b'{"a": 1}\n' + result + b"\n", "application/jsonl"))
    assert found.startswith("the answer is no application/jsonl: ")
    [found] = problems(LISTENING, answer(b"event: next\ndata: %s\n\n" % result, "text/event-stream", is_whole=False))
    assert found.startswith("the answer is no text/event-stream: ")


def test_each_event_is_checked_as_a_result_unless_truncated() -> None:
    right = b'event: next\ndata: {"data": {"a": 1}}\n\n'
    wrong = b"event: next\r\ndata: %s\n\n" % json.dumps(INTERNAL).encode()
    end = b":\n\nevent: complete\ndata:\n\n"

    assert problems(LISTENING, answer(right + end, "text/event-stream")) == []
    assert problems(LISTENING, answer(right + right[:30], "text/event-stream", is_whole=False)) == []
    assert problems(LISTENING, answer(right + wrong + end, "text/event-stream")) == [
        "an error's code is 'INTERNAL': KeyError in pymongo",
        TOLD,
    ]


@pytest.mark.parametrize(
    ("request_", "body", "media_type"),
    [
        (WEAVE, b'{"a": 1}\n{"error": "KeyError in pymongo"}\n', "application/jsonl"),
        (WEAVE, b'{"detail": "KeyError in pymongo"}', "application/json"),
        (OTLP, b'{"partialSuccess": {"errorMessage": "KeyError in pymongo"}}', "application/json"),
        (
            OTLP,
            ExportTraceServiceResponse(
                partial_success=ExportTracePartialSuccess(error_message="KeyError in pymongo")
            ).SerializeToString(),
            "application/x-protobuf",
        ),
    ],
)
def test_errors_in_every_endpoints_format_are_checked(request_: Request, body: bytes, media_type: str) -> None:
    assert problems(request_, answer(body, media_type)) == [TOLD]


def test_otlp_and_plain_text_refusals_are_checked() -> None:
    message = "KeyError in pymongo"

    assert problems(OTLP, answer(Status(message=message).SerializeToString(), "application/x-protobuf", 400)) == [TOLD]
    assert problems(WEAVE, answer(message.encode(), "text/plain", 413)) == [TOLD]
    assert problems(OTLP, answer(b"\xff\xff", "application/x-protobuf")) != []


def test_websocket_message_is_parsed_strictly() -> None:
    held = websocket.Session(Caller.of(OPERATOR, "Bearer x", OPERATOR), [])

    websocket.judge('{"type": "next", "id": "1", "payload": {"data": {"a": 1}}}', held)
    assert held.problems == []
    websocket.judge('{"type": "next", "id": "1", "payload": {"data": {"a": NaN}}}', held)
    assert len(held.problems) == 1
    assert held.problems[0].startswith("a message is no JSON: ")


def test_only_invalid_http_gets_a_bare_400() -> None:
    bare = answer(b"Invalid HTTP request received.", "text/plain", 400)

    assert problems(GRAPHQL, bare) == ["it is told to be no HTTP"]
    for malformed in (
        Request("graphql", "POST", "/graphql", (("Transfer-Encoding", "chunked"),)),
        Request("graphql", "POST", "/graphql", (("X-Request-ID", "\x7f"),)),
        Request("graphql", "GET", "/graphql?query=\u00e9"),
        Request("graphql", "BREW", "/graphql"),
        Request("graphql", "POST", "/graphql", body=b"{}", length=1),
    ):
        assert problems(malformed, bare) == []


@pytest.mark.parametrize(
    ("code", "breaks_off", "expected"),
    [
        (1000, False, []),
        (4401, False, []),
        (1008, False, []),
        (1009, False, []),
        (1013, False, []),
        (4408, False, []),
        (1006, True, []),
        (1006, False, ["the connection was closed with 1006: "]),
        (1011, False, ["the connection was closed with 1011: "]),
    ],
)
def test_websocket_closed_by_the_server_is_reported(code: int, expected: list[str], *, breaks_off: bool) -> None:
    held = websocket.Session(Caller.of(OPERATOR, "Bearer x", OPERATOR), [], closed_with=code, breaks_off=breaks_off)

    websocket.judge_end(held, "", is_ours=False)

    assert held.problems == expected


@pytest.mark.parametrize(
    ("code", "breaks_protocol", "expected"),
    [
        (1002, False, ["the connection was closed with 1002: "]),
        (1002, True, []),
        (1006, True, []),
        (1011, True, ["the connection was closed with 1011: "]),
    ],
)
def test_client_that_stops_within_a_message_expects_1002(
    code: int, expected: list[str], *, breaks_protocol: bool
) -> None:
    caller = Caller.of(OPERATOR, "Bearer x", OPERATOR)
    held = websocket.Session(caller, [], closed_with=code, breaks_protocol=breaks_protocol)

    websocket.judge_end(held, "", is_ours=False)

    assert held.problems == expected


def test_internal_word_sent_by_the_client_may_be_returned() -> None:
    returned = answer(
        b'{"errors": [{"message": "no field \'a.bson\'", "extensions": {"code": "BAD_USER_INPUT"}}]}', status=400
    )

    assert problems(GRAPHQL, returned) == ["it tells of 'bson': \"no field 'a.bson'\""]
    assert problems(replace(GRAPHQL, body=b'{"query": "{ a.bson }"}'), returned) == []
    assert problems(replace(GRAPHQL, target="/graphql?query=a%2Ebson"), returned) == []


def test_unavailable_response_has_retry_after() -> None:
    refused = answer(b'{"errors": [{"message": "busy", "extensions": {"code": "UNAVAILABLE"}}]}', status=503)

    assert problems(GRAPHQL, refused) == ["it does not say when to come again"]
    refused.headers["retry-after"] = "2"
    assert problems(GRAPHQL, refused) == []
    for status in (408, 413, 429):
        assert problems(WEAVE, answer(b'{"reason": "too slow"}', status=status)) == []


def test_truncated_body_is_reported() -> None:
    refusal = answer(b'{"reason": "not JSON: Input is a zero-length, empty document"}', status=422)
    request = replace(WEAVE, headers=(("Content-Type", "application/json"),), body=b'{"id": "1"}')

    assert problems(request, refusal) == ["its body was lost"]
    for empty in (replace(request, body=b" "), replace(request, cut_at=3), replace(request, headers=())):
        assert problems(empty, refusal) == []
