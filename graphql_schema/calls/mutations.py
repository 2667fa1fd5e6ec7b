"""Writing calls."""

from typing import Annotated, Final

import strawberry

from graphql_schema.calls.inputs import (
    CallBatchMode,
    CompletedCallSchemaForInsert,
    EndedCallSchemaForInsert,
    StartedCallSchemaForInsert,
)
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from stores.calls import CallEnd, CallStart
from stores.concurrency.time_slices import cooperative_batches
from stores.refs import call_ref

_REF: Final = "Ref of the call: feedback and values name it by this, and node finds it again."

User = Annotated[str | None, strawberry.argument(description="Who writes; the caller if left out.")]


@strawberry.type(description="A call that was started.")
class CallStartRes:
    """The ids, made or given, and the ref."""

    id: strawberry.ID = plain_field("The call's id; its end needs it.")
    trace_id: strawberry.ID = plain_field("The trace's id; its children need it.")
    ref: strawberry.ID = plain_field(_REF)


@strawberry.type(description="A call that was ended.")
class CallEndRes:
    """The id and the ref."""

    id: strawberry.ID = plain_field("The call's id.")
    ref: strawberry.ID = plain_field(_REF)


@strawberry.type(description="Result of `callCreate`.")
class CallCreateRes:
    """The ids, made or given, and the ref."""

    id: strawberry.ID = plain_field("Id of the call.")
    trace_id: strawberry.ID = plain_field("Id of its trace; the calls below it need it.")
    ref: strawberry.ID = plain_field(_REF)


@strawberry.type(description="What a batch made, item by item.")
class CallCreateBatchRes:
    """Results in the batch's order."""

    res: list[Annotated[CallStartRes | CallEndRes, strawberry.union("CallBatchResult", description="One item.")]] = (
        plain_field("What each item made, in the batch's order.")
    )


@strawberry.type(description="A call's update.")
class CallUpdateRes:
    """How many."""

    num_updated: int = plain_field("1, or 0 where there is no such call yet; a start that comes later has the name.")


@strawberry.type(description="A delete of calls.")
class CallsDeleteRes:
    """How many."""

    num_deleted: int = plain_field("How many calls were there and are gone, descendants included.")


def _result(part: CallStart | CallEnd) -> CallStartRes | CallEndRes:
    return _ended(part) if isinstance(part, CallEnd) else _started(part)


def _started(part: CallStart) -> CallStartRes:
    return CallStartRes(id=strawberry.ID(str(part.id)), trace_id=strawberry.ID(str(part.trace_id)), ref=_ref(part))


def _ended(part: CallEnd) -> CallEndRes:
    return CallEndRes(id=strawberry.ID(part.id), ref=_ref(part))


def _ref(part: CallStart | CallEnd) -> strawberry.ID:
    return strawberry.ID(call_ref({"project_id": part.project_id, "id": str(part.id)}))


@strawberry.type
class CallMutations:
    """The fields of Mutation that write calls."""

    @resolved_field("Start a call.")
    async def call_start(
        self,
        info: Info,
        start: Annotated[StartedCallSchemaForInsert, strawberry.argument(description="The call's start.")],
    ) -> CallStartRes:
        """Start a call."""
        part = start.to_store()
        await info.context.stores.calls.write_one(part)
        return _started(part)

    @resolved_field("End a call.")
    async def call_end(
        self, info: Info, end: Annotated[EndedCallSchemaForInsert, strawberry.argument(description="The call's end.")]
    ) -> CallEndRes:
        """End a call."""
        part = end.to_store()
        await info.context.stores.calls.write_one(part)
        return _ended(part)

    @resolved_field(
        "Creation of a whole call, its start and its end in one write. Nothing is stored if either breaks a rule."
    )
    async def call_create(
        self,
        info: Info,
        call: Annotated[CompletedCallSchemaForInsert, strawberry.argument(description="Start and end of the call.")],
    ) -> CallCreateRes:
        """Store a whole call."""
        start, end = call.to_parts()
        await info.context.stores.calls.write_call(start, end)
        return CallCreateRes(id=strawberry.ID(end.id), trace_id=strawberry.ID(str(start.trace_id)), ref=_ref(end))

    @resolved_field("Start and end many calls: all of them, or none if one breaks a rule.")
    async def call_create_batch(
        self,
        info: Info,
        batch: Annotated[list[CallBatchMode], strawberry.argument(description="Starts and ends, in any order.")],
    ) -> CallCreateBatchRes:
        """Write a batch."""
        parts = [item.to_store() async for some in cooperative_batches(batch) for item in some]
        await info.context.stores.calls.write(parts)
        return CallCreateBatchRes(res=[_result(part) for part in parts])

    @resolved_field("Give a call another display name.")
    async def call_update(
        self,
        info: Info,
        project_id: ProjectId,
        call_id: Annotated[strawberry.ID, strawberry.argument(description="The call.")],
        display_name: Annotated[
            str | None, strawberry.argument(description="The name, of at most 1,024 characters; empty takes it away.")
        ] = None,
        wb_user_id: User = None,
    ) -> CallUpdateRes:
        """Rename a call."""
        store = info.context.stores.calls
        return CallUpdateRes(num_updated=await store.rename(project_id, call_id, display_name, wb_user_id))

    @resolved_field("Delete calls for good, with all that descends from them in their traces.")
    async def calls_delete(
        self,
        info: Info,
        project_id: ProjectId,
        call_ids: Annotated[
            list[strawberry.ID], strawberry.argument(description="The calls, at most 1,000; unknown ids do no harm.")
        ],
        wb_user_id: User = None,
    ) -> CallsDeleteRes:
        """Delete calls."""
        deleted = await info.context.stores.calls.delete(project_id, call_ids, wb_user_id)
        return CallsDeleteRes(num_deleted=deleted)
