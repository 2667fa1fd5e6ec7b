"""Subscriptions to changes of calls."""

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
        description="Cursor after which events are sent: of an event, of `callEventsCursor`, or of an error's "
        "`extensions.after`. A cursor is valid for any filter and query over the same project."
    ),
]


@strawberry.enum(description="Kind of change of a call.")
class CallEventType(Enum):
    """Kinds of change; the values are those of `stores.calls`."""

    STARTED = strawberry.enum_value(
        "started", description="Start of the call, which may have ended before the event arrives."
    )
    ENDED = strawberry.enum_value("ended", description="End of the call, or storage of a complete call.")
    UPDATED = strawberry.enum_value("updated", description="Change of the display name, or a replaced start or end.")
    DELETED = strawberry.enum_value(
        "deleted", description="Deletion of the call. Removal by a purge or by retention sends no event."
    )


@strawberry.type(description="Change of a call.")
class CallEvent:
    """Change of a call; the source is `stores.calls.CallEvent`."""

    type: CallEventType = plain_field("Kind of change.")
    call: CallSchema = plain_field(
        "Call as stored when the event is sent, shortly after the change; for DELETED, its last state."
    )
    cursor: str = plain_field("Cursor of this event; pass it as `after`, to any server, to continue after it.")


@strawberry.type
class CallSubscriptions:
    """Subscription fields about calls."""

    @subscription_field(
        "Events of changes of the project's calls: from now on, or after a past cursor without gaps. A deleted call "
        "is filtered by its last state. Conditions on feedback and costs use their values at the time the event is "
        "sent; a later change of these sends no event.",
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
        """Stream the events of matching calls."""
        wanted, context = selected_fields(info, "call"), info.context
        return context.stores.calls.events(
            project_id, wanted, to_store(filter), to_store(query), after, quota_key=context.payer
        )
