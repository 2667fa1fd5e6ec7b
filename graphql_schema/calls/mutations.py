"""Fields that write calls, from parts of calls or from OpenTelemetry spans, and their inputs."""

import dataclasses
from typing import Annotated, Final, cast

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import ProjectId, User, plain_field, resolved_field
from stores import calls as store
from stores.calls import CallEnd, CallStart
from stores.concurrency.time_slices import cooperative_batches
from stores.errors import StoreError
from stores.otel import Projects
from stores.refs import call_ref


class _Part:
    def __post_init__(self) -> None:
        """Replace missing attributes and a missing summary by empty objects."""
        for name in ("attributes", "summary"):
            if getattr(self, name, {}) is None:
                setattr(self, name, JSON({}))


@strawberry.input
class StartedCallSchemaForInsert(_Part):
    """Start of a call.

    A second start with the same id replaces the first.
    """

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    op_name: str
    """Ref of an op's version, or a name of at most 128 characters."""
    started_at: DateTime
    """Start time of the call."""
    attributes: JSON | None = None
    """Metadata of the call, as a JSON object; {} if omitted."""
    inputs: JSON
    """Arguments of the call, as a JSON object."""
    id: strawberry.ID | None = None
    """Id of the call: a lowercase UUID, or 16 lowercase characters (a span id); a new UUIDv7 if omitted."""
    display_name: str | None = None
    """Display name of the call, at most 1,024 characters."""
    trace_id: strawberry.ID | None = None
    """Id of the trace: a lowercase UUID, or 32 lowercase characters; a new UUIDv7 if omitted."""
    parent_id: strawberry.ID | None = None
    """Id of the parent call, which may be stored later; null for a root."""
    thread_id: str | None = None
    """Id of the thread."""
    turn_id: strawberry.ID | None = None
    """Id of the call that starts the turn: the call's own id if it is the turn itself."""
    wb_user_id: str | None = None
    """User who writes the call; the caller if omitted."""
    wb_run_id: str | None = None
    """W&B run of the call, as entity/project/run; any other format is rejected."""
    wb_run_step: BigInt | None = None
    """Step of the W&B run at the start, from 0."""

    def to_store(self) -> store.CallStart:
        """Convert to the call start of `stores.calls`."""
        return store.CallStart(**vars(self))


@strawberry.input
class _CallName:
    """Project and id of a call."""

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    id: strawberry.ID
    """Id of the call."""


@strawberry.input
class _End(_Part):
    """Fields of the end of a call."""

    ended_at: DateTime
    """End time of the call."""
    summary: JSON | None = None
    """Summary as a JSON object with usage by model, status_counts and any other keys; {} if omitted."""
    exception: str | None = None
    """Text of the exception that ended the call; empty for none."""
    output: JSON | None = None
    """Result of the call: any JSON value."""
    wb_run_step_end: BigInt | None = None
    """Step of the W&B run at the end, from 0."""


@strawberry.input
class EndedCallSchemaForInsert(_CallName, _End):
    """End of a call.

    It may arrive before the start; a second end with the same id replaces the first.
    """

    def to_store(self) -> store.CallEnd:
        """Convert to the call end of `stores.calls`."""
        return store.CallEnd(**vars(self))


@strawberry.input
class CompletedCallSchemaForInsert(StartedCallSchemaForInsert, _End):
    """Complete call: its start and its end.

    A second one with the same id replaces both.
    """

    def to_parts(self) -> tuple[store.CallStart, store.CallEnd]:
        """Split into the start and the end of `stores.calls`; the end has an empty id if the input has no id."""
        started = dict(vars(self))
        ended = {field.name: started.pop(field.name) for field in dataclasses.fields(_End)}
        return store.CallStart(**started), store.CallEnd(project_id=self.project_id, id=self.id or "", **ended)


@strawberry.input(one_of=True)
class CallBatchMode:
    """Entry of a batch: either the start or the end of a call."""

    start: StartedCallSchemaForInsert | None = strawberry.UNSET
    """Start of a call."""
    end: EndedCallSchemaForInsert | None = strawberry.UNSET
    """End of a call."""

    def to_store(self) -> store.CallStart | store.CallEnd:
        """Convert the start or the end, whichever is set, to its form in `stores.calls`."""
        return self.start.to_store() if self.start else cast("EndedCallSchemaForInsert", self.end).to_store()


_REF: Final = "Ref of the call. Feedback and JSON values refer to the call by it, and node resolves it."


@strawberry.type
class CallStartRes:
    """Result of storing the start of a call."""

    id: strawberry.ID
    """Id of the call, which its end must repeat."""
    trace_id: strawberry.ID
    """Id of the trace, which child calls must repeat."""
    ref: strawberry.ID = plain_field(_REF)


@strawberry.type
class CallEndRes:
    """Result of storing the end of a call."""

    id: strawberry.ID
    """Id of the call."""
    ref: strawberry.ID = plain_field(_REF)


@strawberry.type
class CallCreateRes(CallStartRes):
    """Result of `callCreate`."""

    id: strawberry.ID
    """Id of the call."""


@strawberry.type
class CallCreateBatchRes:
    """Result of a batch."""

    res: list[
        Annotated[
            CallStartRes | CallEndRes,
            strawberry.union("CallBatchResult", description="Result of one entry of a batch."),
        ]
    ]
    """Results of the entries, in the order of the batch."""


@strawberry.type
class CallUpdateRes:
    """Result of `callUpdate`."""

    num_updated: int
    """Number of renamed calls: 1, or 0 if the call is not stored yet. The name is kept, and a start that arrives later
    gets it.
    """


@strawberry.type
class CallsDeleteRes:
    """Result of `callsDelete`."""

    num_deleted: int
    """Number of calls deleted by this request, descendants included."""


def _result(part: CallStart | CallEnd) -> CallStartRes | CallEndRes:
    return CallEndRes(id=strawberry.ID(part.id), ref=_ref(part)) if isinstance(part, CallEnd) else _started(part)


def _started(part: CallStart) -> CallStartRes:
    return CallStartRes(id=strawberry.ID(str(part.id)), trace_id=strawberry.ID(str(part.trace_id)), ref=_ref(part))


def _ref(part: CallStart | CallEnd) -> strawberry.ID:
    return strawberry.ID(call_ref({"project_id": part.project_id, "id": str(part.id)}))


@strawberry.type
class CallMutations:
    """Mutation fields that write calls."""

    @resolved_field()
    async def call_start(self, info: Info, start: StartedCallSchemaForInsert) -> CallStartRes:
        """Storage of the start of a call.

        Args:
            start: Start of the call.
        """
        part = start.to_store()
        await info.context.stores.calls.write_one(part)
        return _started(part)

    @resolved_field()
    async def call_end(self, info: Info, end: EndedCallSchemaForInsert) -> CallEndRes:
        """Storage of the end of a call.

        Args:
            end: End of the call.
        """
        part = end.to_store()
        await info.context.stores.calls.write_one(part)
        return CallEndRes(id=end.id, ref=_ref(part))

    @resolved_field()
    async def call_create(self, info: Info, call: CompletedCallSchemaForInsert) -> CallCreateRes:
        """Creation of a complete call: its start and its end in one write.

        Nothing is stored if either is invalid.

        Args:
            call: Start and end of the call.
        """
        start, end = call.to_parts()
        await info.context.stores.calls.write_call(start, end)
        return CallCreateRes(id=strawberry.ID(end.id), trace_id=strawberry.ID(str(start.trace_id)), ref=_ref(end))

    @resolved_field()
    async def call_create_batch(self, info: Info, batch: list[CallBatchMode]) -> CallCreateBatchRes:
        """Storage of starts and ends of many calls in one request.

        Nothing is stored if one of them is invalid.

        Args:
            batch: Starts and ends, in any order.
        """
        parts = [item.to_store() async for some in cooperative_batches(batch) for item in some]
        await info.context.stores.calls.write(parts)
        return CallCreateBatchRes(res=[_result(part) for part in parts])

    @resolved_field()
    async def call_update(
        self,
        info: Info,
        project_id: ProjectId,
        call_id: strawberry.ID,
        display_name: str | None = None,
        wb_user_id: User = None,
    ) -> CallUpdateRes:
        """Change of a call's display name.

        Args:
            call_id: Id of the call.
            display_name: Display name, at most 1,024 characters; empty or null removes the name.
        """
        store = info.context.stores.calls
        return CallUpdateRes(num_updated=await store.rename(project_id, call_id, display_name, wb_user_id))

    @resolved_field()
    async def calls_delete(
        self, info: Info, project_id: ProjectId, call_ids: list[strawberry.ID], wb_user_id: User = None
    ) -> CallsDeleteRes:
        """Permanent deletion of calls and of all their descendants in their traces.

        Args:
            call_ids: Ids of the calls, at most 1,000; unknown ids are ignored.
        """
        deleted = await info.context.stores.calls.delete(project_id, call_ids, wb_user_id)
        return CallsDeleteRes(num_deleted=deleted)


@strawberry.type
class ExportTracePartialSuccess:
    """Rejected spans of a request whose other spans were stored."""

    rejected_spans: BigInt
    """Number of rejected spans; a retry would reject them again."""
    error_message: str
    """Reasons for the first 20 rejected spans, each with its id and name."""


@strawberry.type
class OtelExportRes:
    """Result of `otelExport`."""

    partial_success: ExportTracePartialSuccess | None
    """Rejected spans; null if all spans were stored."""


@strawberry.type
class OtelMutations:
    """Mutation fields that store spans."""

    @resolved_field()
    async def otel_export(
        self, info: Info, project_id: ProjectId, traces: JSON, wb_user_id: User = None
    ) -> OtelExportRes:
        """Storage of OpenTelemetry spans, each as a call, all in this project whatever their resources state.

        An invalid span is rejected, and the others are stored; a span that is sent again replaces the first one.

        Args:
            traces: ExportTraceServiceRequest in the JSON encoding of OTLP: {"resourceSpans": […]}, names in
                lowerCamelCase, ids in hexadecimal.
        """
        try:
            projects = Projects(project_id, fixed=True)
            exported = await info.context.stores.otel.export_json(traces, projects, wb_user_id)
        except StoreError as error:
            raise error if error.argument else error.prefixed("traces") from None
        if not exported.rejected:
            return OtelExportRes(partial_success=None)
        return OtelExportRes(
            partial_success=ExportTracePartialSuccess(
                rejected_spans=BigInt(exported.rejected), error_message=exported.error_message
            )
        )
