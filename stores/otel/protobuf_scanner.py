"""Scanner of a protobuf request: locates resources, scopes and spans without decoding them.

Every field is counted, so a small body with many empty messages costs little time and memory. A truncated or too large
body is rejected before anything is stored.
"""

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from stores.errors import BadInputError, PayloadTooLargeError

MAX_FIELDS: Final = 100_000
"""Limit on resources, scopes, spans and other fields of one request."""

_FIRST, _SECOND, _SCHEMA_URL = 1, 2, 3
"""Field numbers, the same in a request, in ResourceSpans and in ScopeSpans."""

_VARINT, _BYTES_8, _BYTES, _BYTES_4 = 0, 1, 2, 5
_FIXED: Final = {_BYTES_8: 8, _BYTES_4: 4}
_MAX_VARINT_BITS: Final = 70
_CONTINUES: Final = 0x80

Body = bytes | bytearray
Place = tuple[int, int]
_MISSING: Final = (0, 0)


class Part(NamedTuple):
    """The spans of one scope (at least one), and the locations of the spans and shared messages."""

    resource: Place
    resource_schema_url: Place
    scope: Place
    scope_schema_url: Place
    spans: "array[int]"

    def byte_ranges(self) -> Iterator[Place]:
        """Yield the location of each span."""
        ends = iter(self.spans)
        return zip(ends, ends, strict=True)


def parts_of(body: Body) -> list[Part]:
    """Return the parts of an ExportTraceServiceRequest that have spans.

    Raises:
        BadInputError: the body is not such a request, or is truncated.
        PayloadTooLargeError: it has more than `MAX_FIELDS` fields.
    """
    fields = _Fields(body)
    return [
        part
        for number, start, end in fields.of(0, len(body))
        if number == _FIRST
        for part in _resource_parts(fields, start, end)
    ]


def _resource_parts(fields: "_Fields", start: int, end: int) -> list[Part]:
    resource = schema_url = _MISSING
    scopes: list[tuple[Place, Place, array[int]]] = []
    for number, first, last in fields.of(start, end):
        if number == _FIRST:
            resource = first, last
        elif number == _SECOND:
            scope = _scope(fields, first, last)
            if scope[-1]:
                scopes.append(scope)
        elif number == _SCHEMA_URL:
            schema_url = first, last
    return [Part(resource, schema_url, *scope) for scope in scopes]


def _scope(fields: "_Fields", start: int, end: int) -> "tuple[Place, Place, array[int]]":
    scope = schema_url = _MISSING
    spans = array("Q")
    for number, first, last in fields.of(start, end):
        if number == _SECOND:
            spans.append(first)
            spans.append(last)
        elif number == _FIRST:
            scope = first, last
        elif number == _SCHEMA_URL:
            schema_url = first, last
    return scope, schema_url, spans


class _Fields:
    """Iterates over the fields of a body's messages."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._remaining = MAX_FIELDS

    def of(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, start and end of each length-delimited field."""
        body, start = self._body, at
        while at < end:
            self._remaining -= 1
            if self._remaining < 0:
                raise PayloadTooLargeError(
                    f"the request has more than {MAX_FIELDS:,} resources, scopes and spans; send smaller requests"
                )
            key, at = (body[at], at + 1) if body[at] < _CONTINUES else self._varint(at, end)
            kind = key & 7
            if kind == _BYTES:
                size, start = self._varint(at, end)
                at = start + size
            elif kind == _VARINT:
                _, at = self._varint(at, end)
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                raise _damaged()
            if at > end or key >> 3 == 0:
                raise _damaged()
            if kind == _BYTES:
                yield key >> 3, start, at

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < _MAX_VARINT_BITS:
            byte = self._body[at]
            at += 1
            if byte < _CONTINUES:
                return value | byte << shift, at
            value |= (byte & ~_CONTINUES) << shift
            shift += 7
        raise _damaged()


def _damaged() -> BadInputError:
    return BadInputError("the body is not an ExportTraceServiceRequest in protobuf, or is truncated")
