"""Tests that OTLP's JSON gives the same spans as protobuf, and that errors in it are reported."""

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope

from stores.errors import BadInputError
from stores.otel import otlp_json, protobuf
from stores.otel.spans import Origin, Projects, Undecoded, undecoded_records
from tests.stores.otel.messages import NOON, TRACE, failed, pairs, request, span, span_id
from tests.stores.otel.messages import otlp_json as as_json

FULL = span(
    2,
    {
        "text": "é",
        "whole": 2**62,
        "ratio": 0.5,
        "odd": [float("nan"), float("inf")],
        "yes": True,
        "bytes": b"\x00\xff\xfe",
        "list": [1, [b"x"], {"k": None}],
        "nothing": None,
    },
    parent=1,
    trace_state="k=v",
    flags=0x101,
    status=failed("went wrong"),
    dropped_attributes_count=7,
)
FULL.events.add(name="tick", time_unix_nano=NOON, attributes=pairs({"x": 2}), dropped_attributes_count=3)
FULL.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, attributes=pairs({"x": 3}), flags=0x301)


def undecoded(whole: object, given: str | None = "acme/spans") -> list[Undecoded[object]]:
    return list(undecoded_records(otlp_json.parts_of(whole), Projects(given)))


def spans_of(whole: object) -> list[Any]:
    return [otlp_json.span_of(one.message) for one in undecoded(whole)]


def with_span(**changes: object) -> dict[str, Any]:
    one = {"traceId": TRACE, "spanId": span_id(1), "name": "step 1"} | changes
    return {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}


def test_protobuf_and_json_give_the_same_spans() -> None:
    message = request(FULL, span(3), resource={"service.name": "weather"})
    message.resource_spans[0].schema_url = "https://opentelemetry.io/schemas/1.27.0"
    [by] = message.resource_spans[0].scope_spans
    by.schema_url = "https://opentelemetry.io/schemas/1.28.0"
    by.scope.MergeFrom(InstrumentationScope(attributes=pairs({"a.b": 1}), dropped_attributes_count=5))
    sent = message.SerializeToString()

    by_protobuf = list(undecoded_records(protobuf.parts_of(sent), Projects()))
    by_json = undecoded(as_json(message), None)

    assert [one.origin for one in by_json] == [one.origin for one in by_protobuf]
    origin = by_json[0].origin
    assert isinstance(origin, Origin)
    assert origin.resource == {
        "attributes": {"service": {"name": "weather"}},
        "schema_url": "https://opentelemetry.io/schemas/1.27.0",
    }
    assert origin.scope == {
        "attributes": {"a": {"b": 1}},
        "dropped_attributes_count": 5,
        "schema_url": "https://opentelemetry.io/schemas/1.28.0",
    }
    assert [otlp_json.span_of(one.message) for one in by_json] == [protobuf.span_of(one.message) for one in by_protobuf]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"intValue": "-5"}, -5),
        ({"intValue": 5}, 5),
        ({"doubleValue": 5}, 5.0),
        ({"doubleValue": None}, None),  # NaN in JavaScript
        ({"doubleValue": "NaN"}, "NaN"),
        ({"doubleValue": "-Infinity"}, "-Infinity"),
        ({"bytesValue": "_-8"}, "/+8="),
        ({"arrayValue": {}}, []),
        ({"kvlistValue": {"values": [{"key": "a"}]}}, {"a": None}),
        ({"newValue": 1}, None),
        ({}, None),
        (None, None),
    ],
)
def test_values_are_read_by_the_protobuf_json_mapping(value: object, read: object) -> None:
    [span] = spans_of(with_span(attributes=[{"key": "a", "value": value}]))

    assert span.attributes == {"a": read}


def test_ids_are_hexadecimal_in_either_case_and_unknown_fields_ignored() -> None:
    whole = with_span(traceId=TRACE.upper(), spanId="00000000000000AB", kind=3.0, startTimeUnixNano="17", novelty={})

    [span] = spans_of(whole | {"novelty": 1})

    assert (span.trace_id, span.span_id, span.kind, span.started_at) == (TRACE, "00000000000000ab", 3, 17)


def test_request_may_be_empty() -> None:
    assert spans_of({}) == spans_of({"resourceSpans": None}) == spans_of({"resourceSpans": [{"scopeSpans": []}]}) == []


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        ([], "the request must be a JSON object"),
        ({"resource_spans": []}, "the request has no resourceSpans"),
        ({"resourceSpans": {}}, "resourceSpans of the request must be a list"),
        ({"resourceSpans": [1]}, "a member of resourceSpans must be a JSON object"),
        ({"resourceSpans": [{"scopeSpans": "x"}]}, "scopeSpans of resourceSpans must be a list"),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [1]}]}]}, "a span must be a JSON object"),
        (with_span(traceId="DdRHmCuFRDQyNuJp6mT4NQ=="), "traceId must be hexadecimal"),
        (with_span(name=1), "name must be a string"),
        (with_span(parentSpanId=1, traceId=1), "traceId must be a string"),
        (with_span(kind="SPAN_KIND_CLIENT"), "kind must be an integer"),
        (with_span(startTimeUnixNano=-1), "startTimeUnixNano must be an integer from 0"),
        (with_span(startTimeUnixNano=1.5), "startTimeUnixNano must be an integer"),
        (with_span(endTimeUnixNano=2**64), "endTimeUnixNano must be an integer"),
        (with_span(attributes={}), "attributes of its holder must be a list"),
        (with_span(attributes=[{"key": 1}]), "key must be a string"),
        (with_span(attributes=[{"key": "a", "value": 1}]), "an attribute value must be a JSON object"),
        (with_span(attributes=[{"key": "a", "value": {"stringValue": 1}}]), "stringValue must be a string"),
        (with_span(attributes=[{"key": "a", "value": {"boolValue": 1}}]), "boolValue must be true or false"),
        (with_span(attributes=[{"key": "a", "value": {"intValue": True}}]), "intValue must be an integer"),
        (with_span(attributes=[{"key": "a", "value": {"intValue": str(2**63)}}]), "intValue must be an integer"),
        (with_span(attributes=[{"key": "a", "value": {"doubleValue": "x"}}]), "doubleValue must be a number"),
        (with_span(attributes=[{"key": "a", "value": {"bytesValue": "*"}}]), "bytesValue must be Base64"),
        (with_span(status=1), "status must be a JSON object"),
    ],
)
def test_invalid_json_request_is_reported(whole: object, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        spans_of(whole)


def test_nested_values_have_a_depth_limit() -> None:
    value: dict[str, Any] = {"intValue": 1}
    for _ in range(100):
        value = {"arrayValue": {"values": [value]}}

    with pytest.raises(BadInputError, match="nested deeper than 100 levels"):
        spans_of(with_span(attributes=[{"key": "a", "value": value}]))


@pytest.mark.parametrize("broken", [{"spans": {}}, 1, {"spans": "x"}])
def test_all_containers_are_checked_before_the_first_span(broken: object) -> None:
    whole = with_span()
    whole["resourceSpans"][0]["scopeSpans"].append(broken)

    with pytest.raises(BadInputError):
        otlp_json.parts_of(whole)


def test_span_size_includes_resource_and_scope() -> None:
    text = {"key": "a", "value": {"stringValue": "x" * 10_000}}
    whole = with_span(name="n" * 10_000, attributes=[text], events=[{"attributes": [text]}] * 2, links=[{}] * 1_000)
    whole["resourceSpans"][0]["resource"] = {"attributes": [text]}
    whole["resourceSpans"][0]["scopeSpans"][0]["scope"] = {"attributes": [text]}

    [one] = undecoded(whole)

    assert 68_000 < one.size_bytes < 69_500
