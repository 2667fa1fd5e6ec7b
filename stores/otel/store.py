"""Store of OpenTelemetry spans, which become calls."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from stores.calls import CallsStore
from stores.calls.documents import StoredPart, stored_part
from stores.concurrency.time_slices import cooperative
from stores.errors import ForbiddenError, StoreError
from stores.input_checks import MAX_NAME, check_length
from stores.otel import otlp_json, protobuf
from stores.otel.mapping import call_of
from stores.otel.spans import Projects, Span, Undecoded, undecoded_spans

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
"""The reason why a span is rejected, and the error."""

_Convert = Callable[[Undecoded[_Message]], list[StoredPart] | _Rejected]


@dataclass(slots=True)
class Exported:
    """Result of a request: number of rejected spans, and the reasons for the first ones."""

    rejected_spans: int = 0
    reasons: list[str] = field(default_factory=list)
    stored_spans: int = 0
    forbidden: ForbiddenError | None = None
    """The first error because the sender may not write; None if there was none."""

    def reject(self, reason: str, error: StoreError) -> None:
        """Count a rejected span."""
        self.rejected_spans += 1
        if len(self.reasons) < _MAX_REASONS:
            self.reasons.append(reason)
        if isinstance(error, ForbiddenError):
            self.forbidden = self.forbidden or error

    @property
    def error_message(self) -> str:
        """The reasons in one text, which ends with `...` if there are more."""
        return "; ".join([*self.reasons, *(["..."] if self.rejected_spans > len(self.reasons) else [])])


class OtelStore:
    """Stores spans in MongoDB, through the store of calls.

    An invalid span is rejected; all others are stored before the response. Requests can be retried, also after a
    partial failure, because the last write of a span wins.
    """

    def __init__(self, calls: CallsStore) -> None:
        self._calls = calls
        self._parts = asyncio.Semaphore(_CONCURRENT_PARTS)
        self._decode_lock = asyncio.Lock()

    async def export_protobuf(
        self, body: bytes | bytearray, projects: Projects, wb_user_id: str | None = None
    ) -> Exported:
        """Store the spans of an ExportTraceServiceRequest in protobuf.

        Raises:
            ForbiddenError: the sender may store none of them.
            BadInputError: the body is not such a request.
            PayloadTooLargeError: it has too many spans.
        """
        # The scan comes first, so that nothing of a truncated body is stored.
        is_small = len(body) < _THREAD_BYTES
        parts = protobuf.parts_of(body) if is_small else await asyncio.to_thread(protobuf.parts_of, body)
        return await self._export(undecoded_spans(parts, projects), partial(_convert, protobuf.span_of, wb_user_id))

    async def export_json(self, request: object, projects: Projects, wb_user_id: str | None = None) -> Exported:
        """Store the spans of an OTLP/JSON request.

        Raises:
            ForbiddenError: the sender may store none of them.
            BadInputError: it is not such a request, or the user's name is too long.
        """
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        parts = await asyncio.to_thread(otlp_json.parts_of, request)
        return await self._export(undecoded_spans(parts, projects), partial(_convert, otlp_json.span_of, wb_user_id))

    async def _export(self, spans: Iterator[Undecoded[_Message]], convert: _Convert[_Message]) -> Exported:
        exported, is_done = Exported(), False
        while not is_done:
            # A small request waits for one part of other requests, not for all of their parts.
            async with self._parts:
                # Decoding two parts concurrently saves no time and would block everything else.
                async with self._decode_lock:
                    ready, is_done = await _part(spans, convert, exported)
                if ready:
                    await self._calls.write_parts([part for parts in ready for part in parts])
                    exported.stored_spans += len(ready)
        if exported.forbidden and not exported.stored_spans:
            raise exported.forbidden
        return exported


async def _part(
    spans: Iterator[Undecoded[_Message]], convert: _Convert[_Message], exported: Exported
) -> tuple[list[list[StoredPart]], bool]:
    """Decode the next calls to write, and return True if there are no more; rejected spans are counted."""
    ready: list[list[StoredPart]] = []
    number = size = 0
    async for span in cooperative(spans, _SLICE_SECONDS):
        # A thread lets other tasks run meanwhile, at some cost.
        one = convert(span) if span.size_bytes < _THREAD_BYTES else await asyncio.to_thread(convert, span)
        number += 1
        if isinstance(one, tuple):
            exported.reject(*one)
            size += span.size_bytes
        else:
            ready.append(one)
            size += sum(part.size_bytes for part in one)
        if number >= _MAX_PART_CALLS or size >= _MAX_PART_BYTES:
            return ready, False
    return ready, True


def _convert(
    span_of: Callable[[_Message], Span], wb_user_id: str | None, undecoded: Undecoded[_Message]
) -> list[StoredPart] | _Rejected:
    """Convert a span to the stored parts of its call, or return the reason for its rejection."""
    span = None
    try:
        if isinstance(undecoded.origin, StoreError):
            raise undecoded.origin
        span = span_of(undecoded.message)
        return [stored_part(write) for write in call_of(span, undecoded.origin, wb_user_id) if write]
    except StoreError as error:
        of = f"span {span.span_id} ({span.name[:100]})" if span else "a span"
        return f"{of}: {f'{error.argument}: ' if error.argument else ''}{error.message}", error
