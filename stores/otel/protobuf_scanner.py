"""A request in protobuf taken apart without being decoded: where its resources, scopes and spans are in it.

Whatever is looked at is counted. So a small body of many things without content takes neither long nor much memory,
and nothing of a body that is cut off, or that holds too many, is stored.
"""

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from stores.errors import BadInputError, PayloadTooLargeError

MAX_FIELDS: Final = 100_000
"""Resources, scopes, spans and what else stands beside them in one request."""

_FIRST, _SECOND, _SCHEMA_URL = 1, 2, 3
"""Numbers of fields, the same in a request, in ResourceSpans and in ScopeSpans."""

_VARINT, _BYTES_8, _BYTES, _BYTES_4 = 0, 1, 2, 5
_FIXED: Final = {_BYTES_8: 8, _BYTES_4: 4}
_LONGEST_VARINT: Final = 70
_GOES_ON: Final = 0x80

Body = bytes | bytearray
Place = tuple[int, int]
_NOWHERE: Final = (0, 0)


class Part(NamedTuple):
    """The spans of one scope, of which there is at least one, and where each and what they have in common is."""

    resource: Place
    resource_schema_url: Place
    scope: Place
    scope_schema_url: Place
    spans: "array[int]"

    def places(self) -> Iterator[Place]:
        """Where each span is."""
        ends = iter(self.spans)
        return zip(ends, ends, strict=True)


def parts_of(body: Body) -> list[Part]:
    """The parts of an ExportTraceServiceRequest, those without spans left out.

    Raises:
        BadInputError: it is none, or is cut off.
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
    resource = schema_url = _NOWHERE
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
    scope = schema_url = _NOWHERE
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
    """Goes through the fields of a body's messages."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._left = MAX_FIELDS

    def of(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The number of each field of bytes, where it begins and where it ends."""
        body, start = self._body, at
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise PayloadTooLargeError(
                    f"it holds more than {MAX_FIELDS:,} resources, scopes and spans; export fewer spans at once"
                )
            key, at = (body[at], at + 1) if body[at] < _GOES_ON else self._varint(at, end)
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
        while at < end and shift < _LONGEST_VARINT:
            byte = self._body[at]
            at += 1
            if byte < _GOES_ON:
                return value | byte << shift, at
            value |= (byte & ~_GOES_ON) << shift
            shift += 7
        raise _damaged()


def _damaged() -> BadInputError:
    return BadInputError("the body is not an ExportTraceServiceRequest in protobuf, or is cut off")
