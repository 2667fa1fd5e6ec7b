"""A span made a call: what it stores, worked out from its attributes by the tables of `conventions`."""

from contextlib import suppress
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallStart
from stores.calls.documents import end_fields, kept_of_summary, start_fields
from stores.calls.inputs import MAX_DISPLAY_NAME, MAX_EXCEPTION
from stores.calls.payloads import Payload
from stores.calls.writes import WholeCall
from stores.errors import BadInputError
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length
from stores.json import codec
from stores.json.inspection import ODD_KEY, JsonTraits, shape_of
from stores.otel import conventions, op_names, span_events
from stores.otel.attribute_nesting import Layout, layout_of
from stores.otel.spans import ERROR, Origin, Span, code_text, kind_text, time_text
from stores.otel.usage import sums_up, usage_of
from stores.otel.values import OPENING, Decoding
from stores.usage.scopes import SUM

_ENVELOPE: Final = 2 * 11 - 1 + 2 * 3 - 1 + 2 * 2 - 1
"""The separators of `otel_span`, its context and its status."""

_EMPTY: Final = {"summary": JsonTraits()}
_NO_SHAPE: Final = JsonTraits()
_NO_MESSAGE: Final = "the span ended with the status ERROR, and no message"


class _Read:
    """A span's attributes as they are read: the strings of JSON decoded, and the layout of their keys.

    Of what was decoded the shapes are kept by identity, as long as the values are: most of it goes in or out, too.
    """

    __slots__ = ("decode", "layout", "shape", "shapes", "values")

    def __init__(self, span: Span) -> None:
        self.layout: Layout = layout_of(tuple(span.attributes))
        self.values: list[Any] = list(span.attributes.values())
        self.shape = JsonTraits(self.layout.separators, self.layout.is_odd)
        self.shapes: dict[int, JsonTraits] = {}
        self.decode = decode = Decoding().of
        for at in self.layout.json_at:
            value = self.values[at]
            if isinstance(value, str) and value.startswith('"'):
                self.values[at] = decode(value)
        for at, value in enumerate(self.values):
            kind = type(value)
            if kind is str:
                if value[:1] in OPENING:
                    self.values[at] = inner = decode(value)
                    self.shapes[id(inner)] = shape = shape_of(inner)
                    _add(self.shape, shape)
            elif kind is not int and kind is not bool:
                _add(self.shape, shape_of(value))

    def pick(self, role: str) -> Any:  # noqa: ANN401 -- JSON
        return self.layout.pick(role, self.values)


def _add(shape: JsonTraits, more: JsonTraits) -> None:
    shape.separators += more.separators
    shape.is_odd = shape.is_odd or more.is_odd
    shape.has_exponents = shape.has_exponents or more.has_exponents


def call_of(span: Span, origin: Origin, wb_user_id: str | None = None) -> WholeCall:
    """The call of a span.

    Raises:
        BadInputError: its attributes are too many or too deep, or something of it breaks a rule of calls.
        PayloadTooLargeError: it does not fit into a document.
    """
    read = _Read(span)
    inputs, output = _payload_of(read, conventions.INPUTS), _payload_of(read, conventions.OUTPUT)
    if span.events:
        inputs = inputs or span_events.inputs_of(span.events, read.decode)
        output = output or span_events.output_of(span.events, read.decode)
    noted = _noted(read)
    usage = usage_of(read.layout, read.values, noted, origin.scope)
    if not (inputs or output or noted or usage):
        noted = read.layout.nest(read.values)
        noted.pop("otel_span", None)  # it is among the span's own attributes still
    start, files = _start(span, origin, read, noted, inputs, wb_user_id)
    if not span.ended_at:
        return WholeCall(start, None, files)
    end, end_files = _end(span, origin, read, output, usage)
    return WholeCall(start, end, files + end_files)


def _start(
    span: Span, origin: Origin, read: _Read, noted: dict[str, Any], inputs: dict[str, Any], wb_user_id: str | None
) -> tuple[dict[str, Any], list[Any]]:
    thread_id, is_turn = _thread(span, read)
    display_name = _text(read.pick(conventions.DISPLAY_NAME))
    check_length(display_name, MAX_DISPLAY_NAME, "display_name")
    attributes = {**noted, "otel_span": _otel_span(span, origin, read)}
    payload = Payload.of(
        {"attributes": attributes, "inputs": inputs},
        with_files=["attributes", "inputs"],  # what the inputs hold the span's own attributes do, too
        shapes={"attributes": _shape(span, origin, read, noted), "inputs": _payload_shape(inputs, read)},
    )
    start = CallStart(
        project_id=origin.project_id,
        op_name=op_names.shortened(span.name),
        started_at=_time(read, conventions.START_TIME, span.started_at),
        attributes=attributes,
        inputs=inputs,
        id=span.span_id,
        trace_id=span.trace_id,
        display_name=display_name,
        parent_id=span.parent_id,
        thread_id=thread_id,
        turn_id=span.span_id if is_turn else None,
        wb_user_id=wb_user_id or LOCAL_USER,
    )
    return start_fields(start, payload), payload.files


def _end(
    span: Span,
    origin: Origin,
    read: _Read,
    output: Any,  # noqa: ANN401 -- JSON
    usage: dict[str, Any],
) -> tuple[dict[str, Any], list[Any]]:
    summary: dict[str, Any] = {"usage": usage} if usage else {}
    does_sum = bool(usage) and sums_up(usage, read.pick(conventions.OPERATION), span.kind)
    kept = kept_of_summary(summary, SUM if does_sum else None) if usage else {}
    exception = _exception(span, read)
    check_length(exception, MAX_EXCEPTION, "status.message")
    payload = Payload.of(
        {"output": output, "summary": summary},
        with_files=["output"],
        beside=kept,
        shapes={"output": _payload_shape(output, read), **({} if summary else _EMPTY)},
    )
    end = CallEnd(
        project_id=origin.project_id,
        id=span.span_id,
        ended_at=_time(read, conventions.END_TIME, span.ended_at),
        summary=summary,
        exception=exception,
        output=output,
    )
    return end_fields(end, payload, kept), payload.files


def _payload_of(read: _Read, role: str) -> Any:  # noqa: ANN401 -- JSON
    """What went in or came out, under the key that says so, or by itself; empty where no key does."""
    found = read.layout.first(role, read.values)
    if found is None:
        return {}
    key, value = found
    if key in conventions.UNNESTED and (role == conventions.OUTPUT or isinstance(value, dict)):
        return value
    if key != conventions.INPUT_MESSAGES:
        return {key: value}
    beside = (read.layout.first(name, read.values) for name in conventions.BESIDE_INPUT_MESSAGES)
    return dict([found, *(more for more in beside if more)])


def _noted(read: _Read) -> dict[str, Any]:
    found = read.layout.found
    return {role: value for role in conventions.NOTED if role in found and (value := read.pick(role))}


def _otel_span(span: Span, origin: Origin, read: _Read) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": span.name,
        "context": {"trace_id": span.trace_id, "span_id": span.span_id, "trace_state": span.trace_state},
        "kind": kind_text(span.kind),
        "parent_id": span.parent_id,
        "start_time": time_text(span.started_at),
        "end_time": time_text(span.ended_at) if span.ended_at else None,
        "status": {"code": code_text(span.status_code), "message": span.status_message},
        "attributes": read.layout.nest(read.values),
        "events": span.events,
        "links": span.links,
        "resource": origin.resource,
    }
    if origin.scope:
        told["scope"] = origin.scope
    return {**told, **span.beside} if span.beside else told


def _shape(span: Span, origin: Origin, read: _Read, noted: dict[str, Any]) -> JsonTraits:
    """The shape of a call's attributes, put together from those of their parts."""
    shape = JsonTraits(2 * len(noted) + 1)
    for value in noted.values():
        if type(value) is not str:
            _add(shape, shape_of(value))
    shape.separators += _ENVELOPE + 2 * len(span.beside) + (2 if origin.scope else 0)
    _add(shape, read.shape)
    _add(shape, origin.shape)
    for more in (span.events, span.links):
        if more:
            _add(shape, shape_of(more))
    return shape


def _payload_shape(value: Any, read: _Read) -> JsonTraits:  # noqa: ANN401 -- JSON
    """The shape of inputs or an output, which mostly are one string, or what one held."""
    if isinstance(value, dict) and len(value) == 1:
        [(key, inner)] = value.items()
        known = _NO_SHAPE if type(inner) is str else read.shapes.get(id(inner))
        if known:
            is_odd = known.is_odd or ODD_KEY.search(key) is not None
            return JsonTraits(known.separators + 1, is_odd, known.has_exponents)
    return shape_of(value)


def _thread(span: Span, read: _Read) -> tuple[str | None, bool]:
    """The thread of a span, and whether it is a turn of it.

    Who only names a conversation says so on every span of a trace: then the trace's root is the turn.
    """
    thread = _text(read.pick(conventions.THREAD))
    is_turn = bool(thread and read.pick(conventions.TURN))
    if not thread:
        thread = _text(read.pick(conventions.CONVERSATION))
        is_turn = bool(thread) and span.parent_id is None
    check_length(thread, MAX_NAME, "thread_id")
    return thread, is_turn


def _text(value: Any) -> str | None:  # noqa: ANN401 -- JSON
    return value if value is None or isinstance(value, str) else codec.encode(value)


def _time(read: _Read, role: str, nanoseconds: int) -> int:
    told = read.pick(role)
    if isinstance(told, str):
        with suppress(BadInputError):
            return times.parse(told)
    return nanoseconds // 1000


def _exception(span: Span, read: _Read) -> str | None:
    if span.status_code == ERROR:
        return span.status_message or span_events.exception_of(span.events) or _NO_MESSAGE
    if read.pick(conventions.LEVEL) == "ERROR":
        return _text(read.pick(conventions.LEVEL_MESSAGE)) or span_events.exception_of(span.events) or _NO_MESSAGE
    return None
