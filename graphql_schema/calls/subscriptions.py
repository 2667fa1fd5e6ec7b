"""Calls as they happen."""

from collections.abc import AsyncGenerator
from enum import Enum
from typing import Annotated

import strawberry

from graphql_schema.calls.queries import Filter, Where
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, subscription_field, to_store
from graphql_schema.fields.selection import selected_fields
from stores.calls import CallEvent as StoreCallEvent

After = Annotated[
    str | None,
    strawberry.argument(
        description="Go on after this cursor: that of an event, of `callEventsCursor`, or of an error's "
        "`extensions.after`. Any filter and query over the same project may go on from it."
    ),
]


@strawberry.enum(description="What happened to a call.")
class CallEventType(Enum):
    """The values are those of the stores."""

    STARTED = strawberry.enum_value(
        "started", description="It started; by the time that this is told it may have ended."
    )
    ENDED = strawberry.enum_value("ended", description="It ended, or was written whole.")
    UPDATED = strawberry.enum_value("updated", description="It was given another name, or written again.")
    DELETED = strawberry.enum_value(
        "deleted", description="It was deleted. What a purge or retention removes for good is no event."
    )


@strawberry.type(description="Something that happened to a call.")
class CallEvent:
    """The source is `stores.calls.CallEvent`."""

    type: CallEventType = plain_field("What happened.")
    call: CallSchema = plain_field(
        "The call as it is when the event is told, which may be a little later; a deleted one as it was."
    )
    cursor: str = plain_field("The place after this event: give it as `after` to go on from here, at any server.")


@strawberry.type
class CallSubscriptions:
    """The fields of Subscription that tell of calls."""

    @subscription_field(
        "What happens to the project's calls: from now on, or after a place in the past without a gap. A deleted call "
        "passes the filter and the query as it was. Conditions on feedback and costs look at what there is of these "
        "when the event is told; that they change later is no event of the call.",
        of=CallEvent,
    )
    def call_events(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        after: After = None,
    ) -> AsyncGenerator[StoreCallEvent, None]:
        """What happens to calls."""
        wanted, context = selected_fields(info, "call"), info.context
        return context.stores.calls.events(
            project_id, wanted, to_store(filter), to_store(query), after, quota_key=context.payer
        )
