"""OTLP's JSON says the same as protobuf, and what is wrong with it is told."""

from typing import Any

import pytest

from stores.errors import BadInputError
from stores.otel import otlp_json, protobuf
from stores.otel.projects import Projects
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
    status=failed("went wrong"),
    dropped_attributes_count=7,
)
FULL.events.add(name="tick", time_unix_nano=NOON, attributes=pairs({"x": 2}), dropped_attributes_count=3)
FULL.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, attributes=pairs({"x": 3}))


def spans_of(whole: object) -> list[Any]:
    return [otlp_json.span_of(message) for message, _, _ in otlp_json.undecoded_spans(whole, Projects("acme/spans"))]


def with_span(**changes: object) -> dict[str, Any]:
    one = {"traceId": TRACE, "spanId": span_id(1), "name": "step 1"} | changes
    return {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}


def test_both_forms_say_the_same() -> None:
    message = request(FULL, span(3), resource={"service.name": "weather"})
    whole = as_json(message)

    by_protobuf = list(protobuf.undecoded_spans(protobuf.request_of(message.SerializeToString()), Projects()))
    by_json = list(otlp_json.undecoded_spans(whole, Projects()))

    assert [one.origin for one in by_json] == [one.origin for one in by_protobuf]
    assert [otlp_json.span_of(one.message) for one in by_json] == [protobuf.span_of(one.message) for one in by_protobuf]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"intValue": "-5"}, -5),
        ({"intValue": 5}, 5),
        ({"doubleValue": 5}, 5.0),
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
def test_values_are_read_as_protobufs_mapping_writes_them(value: object, read: object) -> None:
    [span] = spans_of(with_span(attributes=[{"key": "a", "value": value}]))

    assert span.attributes == {"a": read}


def test_ids_are_hexadecimal_in_either_case_and_unknown_members_do_no_harm() -> None:
    whole = with_span(traceId=TRACE.upper(), spanId="00000000000000AB", kind=3.0, startTimeUnixNano="17", novelty={})

    [span] = spans_of(whole | {"novelty": 1})

    assert (span.trace_id, span.span_id, span.kind, span.started_at) == (TRACE, "00000000000000ab", 3, 17)


def test_a_request_may_be_empty() -> None:
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
        (with_span(kind="SPAN_KIND_CLIENT"), "kind must be a whole number"),
        (with_span(startTimeUnixNano=-1), "startTimeUnixNano must be a whole number from 0"),
        (with_span(startTimeUnixNano=1.5), "startTimeUnixNano must be a whole number"),
        (with_span(endTimeUnixNano=2**64), "endTimeUnixNano must be a whole number"),
        (with_span(attributes={}), "attributes of its holder must be a list"),
        (with_span(attributes=[{"key": 1}]), "key must be a string"),
        (with_span(attributes=[{"key": "a", "value": 1}]), "a value of an attribute must be a JSON object"),
        (with_span(attributes=[{"key": "a", "value": {"stringValue": 1}}]), "stringValue must be a string"),
        (with_span(attributes=[{"key": "a", "value": {"boolValue": 1}}]), "boolValue must be true or false"),
        (with_span(attributes=[{"key": "a", "value": {"intValue": True}}]), "intValue must be a whole number"),
        (with_span(attributes=[{"key": "a", "value": {"intValue": str(2**63)}}]), "intValue must be a whole number"),
        (with_span(attributes=[{"key": "a", "value": {"doubleValue": "x"}}]), "doubleValue must be a number"),
        (with_span(attributes=[{"key": "a", "value": {"bytesValue": "*"}}]), "bytesValue must be Base64"),
        (with_span(status=1), "status must be a JSON object"),
    ],
)
def test_what_is_wrong_is_told(whole: object, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        spans_of(whole)


def test_values_nest_to_a_limit() -> None:
    value: dict[str, Any] = {"intValue": 1}
    for _ in range(100):
        value = {"arrayValue": {"values": [value]}}

    with pytest.raises(BadInputError, match="nests deeper than 100 levels"):
        spans_of(with_span(attributes=[{"key": "a", "value": value}]))
