"""Tests that a protobuf request is split completely or refused, and that the number of its elements is limited."""

import pytest

from stores.errors import BadInputError, PayloadTooLargeError
from stores.otel import protobuf
from tests.stores.otel.messages import body, request, span

EMPTY_RESOURCE, EMPTY_SCOPE, EMPTY_SPAN, NUMBER = b"\x0a\x00", b"\x12\x00", b"\x12\x00", b"\x38\x00"


def field(number: int, content: bytes) -> bytes:
    size, length = len(content), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def test_every_span_is_found_with_its_resource_and_scope() -> None:
    whole = request(span(1), span(2), resource={"service.name": "weather"})
    whole.resource_spans[0].scope_spans.add().spans.append(span(3))
    whole.MergeFrom(request(span(4)))
    whole.resource_spans[1].schema_url = "u"
    sent = whole.SerializeToString()

    parts = protobuf.parts_of(sent)

    found = [[message for message, _size in part.records] for part in parts]
    assert found == [[one.SerializeToString() for one in spans] for spans in ([span(1), span(2)], [span(3)], [span(4)])]
    assert parts[0].resource is parts[1].resource
    assert [part.resource.decode() for part in parts] == [
        *[{"attributes": {"service.name": "weather"}, "dropped_attributes_count": 0, "schema_url": ""}] * 2,
        {"attributes": {}, "dropped_attributes_count": 0, "schema_url": "u"},
    ]


def test_unknown_fields_are_skipped() -> None:
    unknown = NUMBER + b"\x39" + bytes(8) + b"\x3d" + bytes(4) + field(7, b"?")
    scope = field(2, b"span") + unknown
    sent = unknown + field(1, unknown + field(2, scope) + unknown)

    [part] = protobuf.parts_of(sent)

    assert list(part.records) == [(b"span", 4)]


def test_truncated_body_is_refused_at_any_position() -> None:
    sent = body(span(1, {"a": "b" * 200}), resource={"service.name": "weather"})

    for end in range(1, len(sent)):
        with pytest.raises(BadInputError, match="or is truncated"):
            protobuf.parts_of(sent[:end])


@pytest.mark.parametrize(
    "damaged",
    [
        *(b"\xff" * 20, b"\x0b\x0c", b"\x0e\x00", b"\x02\x00"),
        field(1, b"\x12\x05") + b"12345",  # the scope extends beyond its resource
    ],
    ids=["endless number", "group", "unknown type", "field 0", "beyond its holder"],
)
def test_invalid_protobuf_is_refused(damaged: bytes) -> None:
    with pytest.raises(BadInputError, match="not an ExportTraceServiceRequest"):
        protobuf.parts_of(damaged)


def test_resources_and_scopes_without_spans_are_skipped() -> None:
    sent = EMPTY_RESOURCE * 1_000 + field(1, EMPTY_SCOPE * 1_000)

    assert protobuf.parts_of(sent) == []


@pytest.mark.parametrize(
    "sent",
    [
        EMPTY_RESOURCE * (protobuf.MAX_FIELDS + 1),
        field(1, EMPTY_SCOPE * protobuf.MAX_FIELDS),
        field(1, field(2, EMPTY_SPAN * (protobuf.MAX_FIELDS - 1))),
        field(1, field(2, NUMBER * (protobuf.MAX_FIELDS - 1))),
    ],
    ids=["resources", "scopes", "spans", "what is not known"],
)
def test_number_of_elements_in_a_request_is_limited(sent: bytes) -> None:
    with pytest.raises(PayloadTooLargeError, match="more than 100,000 resources, scopes and spans; send smaller"):
        protobuf.parts_of(sent)
