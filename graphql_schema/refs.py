"""Refs in the API: what they lead to."""

from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.fields import resolved


@strawberry.type
class RefQueries:
    """The field of Query that resolves refs."""

    @resolved(
        "What refs to objects and ops lead to, in their order: the value of a version, or what lies inside it at the "
        "ref's edges; null where that is deleted or nothing is there. Refs on the way are followed inside their "
        "project, also to rows of tables."
    )
    async def refs(
        self,
        info: Info,
        refs: Annotated[
            list[str],
            strawberry.argument(
                description="At most 1,000 refs, such as "
                "weave:///entity/project/object/name:digest/key/messages/index/0. If one names what is not there, all "
                "fail."
            ),
        ],
    ) -> list[JSON | None]:
        """What refs lead to."""
        found = await info.context.stores.refs.values(refs)
        return [None if text is None else JSON(text) for text in found]
