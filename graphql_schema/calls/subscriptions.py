"""Calls as they happen."""

from collections.abc import AsyncGenerator
from enum import Enum

import strawberry

from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, described, streamed
from graphql_schema.selection import selected_fields
from stores.calls import CallEvent as StoreCallEvent


@strawberry.enum(description="What happened to a call.")
class CallEventType(Enum):
    """The values are those of the stores."""

    STARTED = strawberry.enum_value("started", description="It started.")
    ENDED = strawberry.enum_value("ended", description="It ended, or was written whole.")
    UPDATED = strawberry.enum_value("updated", description="It was given another name, or written again.")
    DELETED = strawberry.enum_value("deleted", description="It was deleted.")


@strawberry.type(description="Something that happened to a call.")
class CallEvent:
    """The source is `stores.calls.CallEvent`."""

    type: CallEventType = described("What happened.")
    call: CallSchema = described("The call as it is now.")


@strawberry.type
class CallSubscriptions:
    """The fields of Subscription that tell of calls."""

    @streamed("What happens to the project's calls from now on.", of=CallEvent)
    def call_events(self, info: Info, project_id: ProjectId) -> AsyncGenerator[StoreCallEvent, None]:
        """What happens to calls."""
        return info.context.stores.calls.events(project_id, selected_fields(info, "call"))
