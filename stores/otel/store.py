"""The store of OpenTelemetry's spans, which are calls once they are stored."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from stores.calls import CallsStore
from stores.calls.writes import WholeCall
from stores.concurrency.time_slices import cooperative
from stores.errors import ForbiddenError, StoreError
from stores.ids import check_project_id
from stores.input_checks import MAX_NAME, check_length
from stores.otel import otlp_json, protobuf, protobuf_scanner
from stores.otel.mapping import call_of
from stores.otel.project_routing import ENTITY, Projects
from stores.otel.spans import Origin, Span

_MOST_CALLS: Final = 500
_MOST_BYTES: Final = 2 * 1024 * 1024
"""What is looked at of a request before it is written, and others look at theirs; what is rejected counts, too."""

_AT_ONCE: Final = 3
"""Parts of requests that are ready or on their way at once: of what waits there is no more in memory than came."""

_LARGE_BYTES: Final = 16 * 1024
"""A span that may take longer than a turn by itself, with its resource and scope, or a body to look through."""

_TURN_SECONDS: Final = 0.002
"""A turn of those who bring spans without end: whoever reads meanwhile has to wait for several."""

_TOLD: Final = 20
"""Rejected spans of which a request is told why."""

_Message = TypeVar("_Message")


@dataclass(frozen=True, slots=True)
class _Rejected:
    """A span that is not stored, and why."""

    reason: str
    error: StoreError


_Made = tuple[int, Callable[[], WholeCall | _Rejected]]


@dataclass(slots=True)
class Exported:
    """What came of a request: how many spans were rejected, and why the first of them were."""

    rejected_spans: int = 0
    reasons: list[str] = field(default_factory=list)
    stored_spans: int = 0
    forbidden: ForbiddenError | None = None
    """Why the first of them were that their sender may not store."""

    def reject(self, rejected: "_Rejected") -> None:
        """Count one in."""
        self.rejected_spans += 1
        if len(self.reasons) < _TOLD:
            self.reasons.append(rejected.reason)
        if isinstance(rejected.error, ForbiddenError):
            self.forbidden = self.forbidden or rejected.error

    @property
    def error_message(self) -> str:
        """The reasons in one text, which ends with `...` where there are more."""
        return "; ".join([*self.reasons, *(["..."] if self.rejected_spans > len(self.reasons) else [])])


class OtelStore:
    """Spans in MongoDB, over the store of calls.

    A span that breaks a rule is rejected, and all others are stored by the time that a request is answered. A request
    that is sent again, or whose parts were stored before it failed, changes nothing: the last of a span counts.
    """

    def __init__(self, calls: CallsStore) -> None:
        self._calls = calls
        self._parts = asyncio.Semaphore(_AT_ONCE)
        self._making = asyncio.Lock()

    async def export_protobuf(
        self,
        body: bytes | bytearray,
        project_id: str | None = None,
        wb_user_id: str | None = None,
        entity: str = ENTITY,
        check: Callable[[str], None] | None = None,
    ) -> Exported:
        """Store the spans of an ExportTraceServiceRequest in protobuf; `check` sees that their sender may.

        Raises:
            ForbiddenError: it may store none of them.
            BadInputError: it is none, or the project's id breaks a rule.
            PayloadTooLargeError: it holds more spans than are taken at once.
        """
        projects = _projects(project_id, entity, check)
        # Half of it would be stored before it is known to be whole, if it were not gone through first.
        parts = (
            protobuf_scanner.parts_of(body)
            if len(body) < _LARGE_BYTES
            else await asyncio.to_thread(protobuf_scanner.parts_of, body)
        )
        undecoded = protobuf.undecoded_spans(body, parts, projects)
        return await self._export(_made(undecoded, protobuf.span_of, wb_user_id))

    async def export_json(
        self,
        request: object,
        project_id: str | None = None,
        wb_user_id: str | None = None,
        entity: str = ENTITY,
        check: Callable[[str], None] | None = None,
        *,
        fixed: bool = False,
    ) -> Exported:
        """The same of OTLP's JSON; with `fixed` all in the project given.

        Raises:
            ForbiddenError: their sender may store none of them.
            BadInputError: it is none, or the project's id breaks a rule; or the user's name is too long.
        """
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        projects = _projects(project_id, entity, check, fixed=fixed)
        parts = await asyncio.to_thread(otlp_json.parts_of, request)
        return await self._export(_made(otlp_json.undecoded_spans(parts, projects), otlp_json.span_of, wb_user_id))

    async def _export(self, made: Iterator[_Made]) -> Exported:
        exported, is_done = Exported(), False
        while not is_done:
            # Who brings little waits for a part of what others bring, not for all of it.
            async with self._parts:
                # To make two parts at once would take as long as one after the other, and keep all else waiting.
                async with self._making:
                    ready, is_done = await _part(made, exported)
                if ready:
                    await self._calls.write_whole(ready)
                    exported.stored_spans += len(ready)
        if exported.forbidden and not exported.stored_spans:
            raise exported.forbidden
        return exported


async def _part(made: Iterator[_Made], exported: Exported) -> tuple[list[WholeCall], bool]:
    """The next calls to write, and whether there are no more; what is rejected on the way is counted."""
    ready: list[WholeCall] = []
    number = size = 0
    async for size_bytes, make in cooperative(made, _TURN_SECONDS):
        # A thread lets others come first in between, at some cost.
        one = make() if size_bytes < _LARGE_BYTES else await asyncio.to_thread(make)
        number += 1
        if isinstance(one, _Rejected):
            exported.reject(one)
            size += size_bytes
        else:
            ready.append(one)
            size += one.size_bytes
        if number >= _MOST_CALLS or size >= _MOST_BYTES:
            return ready, False
    return ready, True


def _projects(
    project_id: str | None, entity: str, check: Callable[[str], None] | None, *, fixed: bool = False
) -> Projects:
    if project_id is not None:
        check_project_id(project_id)
        if check:
            check(project_id)
    return Projects(project_id, fixed, entity, check)


def _made(
    undecoded: Iterable[tuple[_Message, Origin | StoreError, int]],
    span_of: Callable[[_Message], Span],
    wb_user_id: str | None,
) -> Iterator[_Made]:
    """About how large each span is, and what makes it a call."""
    for message, origin, size_bytes in undecoded:
        yield size_bytes, partial(_call, message, origin, span_of, wb_user_id)


def _call(
    message: _Message, origin: Origin | StoreError, span_of: Callable[[_Message], Span], wb_user_id: str | None
) -> WholeCall | _Rejected:
    """The call of a span, or why it is rejected."""
    span = None
    try:
        if isinstance(origin, StoreError):
            raise origin
        span = span_of(message)
        return call_of(span, origin, wb_user_id)
    except StoreError as error:
        return _Rejected(_reason(span, error), error)


def _reason(span: Span | None, error: StoreError) -> str:
    of = f"span {span.span_id} ({span.name[:100]})" if span else "a span"
    return f"{of}: {f'{error.argument}: ' if error.argument else ''}{error.message}"
