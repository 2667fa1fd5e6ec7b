"""Store of OpenTelemetry spans and logs, which become calls and feedback."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from stores.calls import CallsStore
from stores.calls.documents import StoredPart, stored_part
from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError, ForbiddenError, IdTakenError, PayloadTooLargeError, StoreError
from stores.feedback import MAX_BATCH, FeedbackStore, NewFeedback
from stores.input_checks import MAX_NAME, check_length
from stores.otel import agents, logs, otlp_json, protobuf, span_events
from stores.otel.agents import AgentEvent
from stores.otel.logs import LogRecord
from stores.otel.mapping import call_of
from stores.otel.span_events import SpanEvent
from stores.otel.spans import TRACES, Projects, Signal, Span, Undecoded, undecoded_records
from stores.senders.attributes import layout_of

_MAX_PART_CALLS: Final = 500
_MAX_PART_BYTES: Final = 2 * 1024 * 1024
"""Limits on the spans of a request that are decoded before a write lets other requests proceed; rejected ones count."""

_CONCURRENT_PARTS: Final = 3
"""Parts of requests decoded or written concurrently, which bounds the memory of waiting requests."""

_THREAD_BYTES: Final = 16 * 1024
"""Size of a body, or a span with resource and scope, from which a thread decodes it, as it may exceed a time slice."""

_SLICE_SECONDS: Final = 0.002
"""Time slice of exports in seconds. It is short, because a concurrent read waits for several of them."""

_MAX_REASONS: Final = 20
"""Limit on the reasons returned for rejected spans."""

_Message = TypeVar("_Message")

_Rejected = tuple[str, StoreError]
"""The reason why a span or log record is rejected, and the error."""


@dataclass(slots=True)
class _Record:
    """Writes that one span or log record causes; reasons of rejections contain its `name`."""

    name: str
    size_bytes: int
    parts: list[StoredPart] = field(default_factory=list)
    agent_event: AgentEvent | None = None
    span_event: SpanEvent | None = None
    feedback: list[NewFeedback] = field(default_factory=list)


_Convert = Callable[[Undecoded[_Message]], _Record | _Rejected]


@dataclass(slots=True)
class Exported:
    """Result of a request: number of rejected spans or log records, and the reasons for the first ones."""

    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    stored: int = 0
    num_others: int = 0
    """Number of the rejected log records that LoomQL has no use for."""
    forbidden: ForbiddenError | None = None
    """The first error because the sender may not write; None if there was none."""

    def reject(self, reason: str, error: StoreError) -> None:
        """Count a rejected span or log record."""
        self.rejected += 1
        if isinstance(error, _OtherLogError):
            self.num_others += 1
        elif len(self.reasons) < _MAX_REASONS:
            self.reasons.append(reason)
        if isinstance(error, ForbiddenError):
            self.forbidden = self.forbidden or error

    @property
    def error_message(self) -> str:
        """The reasons in one text, which ends with `...` if there are more."""
        has_more = self.rejected - self.num_others > len(self.reasons)
        others = [f"{self.num_others:,} log records have no use here: {logs.ACCEPTED}"] if self.num_others else []
        return "; ".join([*self.reasons, *(["..."] if has_more else []), *others])


class _OtherLogError(BadInputError):
    """A log record is none that LoomQL stores."""


class OtelStore:
    """Stores spans and log records in MongoDB, through the stores of calls and feedback.

    An invalid one is rejected; all others are stored before the response. Requests can be retried, also after a partial
    failure, because the last write of a span wins, and log records have ids that follow from their content.
    """

    def __init__(self, calls: CallsStore) -> None:
        self._calls = calls
        self._feedback = FeedbackStore(calls.database)
        self._parts = asyncio.Semaphore(_CONCURRENT_PARTS)
        self._decode_lock = asyncio.Lock()

    async def export_protobuf(
        self, body: bytes | bytearray, projects: Projects, wb_user_id: str | None = None, signal: Signal = TRACES
    ) -> Exported:
        """Store the spans or log records of a signal's request in protobuf.

        Raises:
            ForbiddenError: the sender may store none of them.
            BadInputError: the body is not such a request.
            PayloadTooLargeError: it has too many of them.
        """
        # The scan comes first, so that nothing of a truncated body is stored.
        is_small = len(body) < _THREAD_BYTES
        scan = partial(protobuf.parts_of, body, signal)
        parts = scan() if is_small else await asyncio.to_thread(scan)
        convert = _converter(signal, protobuf.span_of, protobuf.log_of, wb_user_id)
        return await self._export(undecoded_records(parts, projects), convert, wb_user_id)

    async def export_json(
        self, request: object, projects: Projects, wb_user_id: str | None = None, signal: Signal = TRACES
    ) -> Exported:
        """Store the spans or log records of a signal's OTLP/JSON request.

        Raises:
            ForbiddenError: the sender may store none of them.
            BadInputError: it is not such a request, or the user's name is too long.
        """
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        parts = await asyncio.to_thread(otlp_json.parts_of, request, signal)
        convert = _converter(signal, otlp_json.span_of, otlp_json.log_of, wb_user_id)
        return await self._export(undecoded_records(parts, projects), convert, wb_user_id)

    async def _export(
        self, records: Iterator[Undecoded[_Message]], convert: _Convert[_Message], wb_user_id: str | None
    ) -> Exported:
        exported, is_done = Exported(), False
        while not is_done:
            # A small request waits for one part of other requests, not for all of their parts.
            async with self._parts:
                # Decoding two parts concurrently saves no time and would block everything else.
                async with self._decode_lock:
                    ready, is_done = await _part(records, convert, exported)
                if ready:
                    await self._write(ready, wb_user_id, exported)
        if exported.forbidden and not exported.stored:
            raise exported.forbidden
        return exported

    async def _write(self, records: list[_Record], wb_user_id: str | None, exported: Exported) -> None:
        rejected = 0
        if parts := [part for record in records for part in record.parts]:
            existing = await self._calls.write_parts(parts)
            known = [part for part in parts if part.fields["_id"] in existing]
            await self._calls.database.run(span_events.add_to_calls(self._calls, known))
        if events := [record for record in records if record.agent_event and record.agent_event.is_stored]:
            of_agents = [record.agent_event for record in events if record.agent_event]
            errors = await self._calls.database.run(agents.write(self._calls, of_agents, wb_user_id))
            rejected += _reject(exported, events, errors)
        if messages := [record for record in records if record.span_event]:
            of_spans = [record.span_event for record in messages if record.span_event]
            errors = await self._calls.database.run(span_events.write(self._calls, of_spans))
            rejected += _reject(exported, messages, errors)
        if annotated := [record for record in records if record.feedback]:
            errors = await self._create_feedback(annotated)
            # Of a span, feedback that cannot be stored stays a mere part.
            errors = [None if record.parts else error for record, error in zip(annotated, errors, strict=True)]
            rejected += _reject(exported, annotated, errors)
        exported.stored += len(records) - rejected

    async def _create_feedback(self, records: Sequence[_Record]) -> list[StoreError | None]:
        """Store the feedback of records; return the error of each record of which some is not stored."""
        errors: list[StoreError | None] = [None] * len(records)
        owners = [position for position, record in enumerate(records) for _ in record.feedback]
        feedback = [new for record in records for new in record.feedback]
        step, at = MAX_BATCH, 0
        while at < len(feedback):
            try:
                await self._feedback.create(feedback[at : at + step])
            except (BadInputError, PayloadTooLargeError, IdTakenError) as error:
                if step > 1:
                    step = max(step // 10, 1)  # until the invalid one is alone
                    continue
                errors[owners[at]] = error.relative_to("batch.0")
            at += step
            step = min(step * 10, MAX_BATCH)
        return errors


def _reject(exported: Exported, records: Iterable[_Record], errors: Iterable[StoreError | None]) -> int:
    """Reject the records that have an error; return their number."""
    number = 0
    for record, error in zip(records, errors, strict=True):
        if error:
            exported.reject(_reason(record.name, error), error)
            number += 1
    return number


async def _part(
    records: Iterator[Undecoded[_Message]], convert: _Convert[_Message], exported: Exported
) -> tuple[list[_Record], bool]:
    """Decode the next records to write, and return True if there are no more; rejected ones are counted."""
    ready: list[_Record] = []
    number = size = 0
    async for record in cooperative(records, _SLICE_SECONDS):
        # A thread lets other tasks run meanwhile, at some cost.
        one = convert(record) if record.size_bytes < _THREAD_BYTES else await asyncio.to_thread(convert, record)
        number += 1
        if isinstance(one, tuple):
            exported.reject(*one)
            size += record.size_bytes
        else:
            ready.append(one)
            size += one.size_bytes
        if number >= _MAX_PART_CALLS or size >= _MAX_PART_BYTES:
            return ready, False
    return ready, True


def _converter(
    signal: Signal, span_of: Callable[[_Message], Span], log_of: Callable[[_Message], LogRecord], wb_user_id: str | None
) -> _Convert[_Message]:
    if signal is TRACES:
        return partial(_convert, span_of, wb_user_id)
    return partial(_convert_log, log_of, wb_user_id)


def _convert(
    span_of: Callable[[_Message], Span], wb_user_id: str | None, undecoded: Undecoded[_Message]
) -> _Record | _Rejected:
    """Convert a span to the stored parts of its call, or return the reason for its rejection."""
    span = None
    try:
        if isinstance(undecoded.origin, StoreError):
            raise undecoded.origin
        span = span_of(undecoded.message)
        start, end = call_of(span, undecoded.origin, wb_user_id)
        parts = [stored_part(write) for write in (start, end) if write]
        layout = start.span_attributes.layout if start.span_attributes else layout_of(tuple(span.attributes))
        feedback = logs.feedback_of_span(span, layout, undecoded.origin.project_id, wb_user_id)
    except StoreError as error:
        return _reason(f"span {span.span_id} ({span.name[:100]})" if span else "a span", error), error
    return _Record("", sum(part.size_bytes for part in parts), parts, feedback=feedback)


def _convert_log(
    log_of: Callable[[_Message], LogRecord], wb_user_id: str | None, undecoded: Undecoded[_Message]
) -> _Record | _Rejected:
    """Convert a log record to what LoomQL stores of it, or return the reason for its rejection."""
    name = "a log record"
    try:
        if isinstance(undecoded.origin, StoreError):
            raise undecoded.origin
        record, project_id = log_of(undecoded.message), undecoded.origin.project_id
        name = f"log record {record.names[0][:100]}" if record.names else name
        converted = _Record(name, undecoded.size_bytes)
        if feedback := logs.feedback_of_record(record, project_id, wb_user_id):
            converted.feedback = feedback
        elif event := agents.event_of(record, undecoded.origin, is_large=undecoded.size_bytes >= _THREAD_BYTES):
            converted.agent_event = event
        elif span_event := span_events.event_of(record, project_id):
            converted.span_event = span_event
        else:
            raise _OtherLogError("LoomQL has no use for it")
    except StoreError as error:
        return _reason(name, error), error
    return converted


def _reason(name: str, error: StoreError) -> str:
    return f"{name}: {f'{error.argument}: ' if error.argument else ''}{error.message}"
