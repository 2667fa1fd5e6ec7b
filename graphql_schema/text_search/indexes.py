"""Indexes of texts: whether a project has one, and how far it is."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.scalars import BigInt, DateTime
from stores.text_search import SearchIndex

IsOn = Annotated[bool, strawberry.argument(description="Whether there is to be one.")]


@strawberry.type(description="The index of a project's texts, which makes searches quick.")
class SearchIndexRes:
    """An index; its source is `stores.text_search.SearchIndex`."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    is_on: bool = plain_field("Whether the project has one, ready or not.")
    is_ready: bool = plain_field("Whether searches go by it; before, they scan.")
    set_at: DateTime | None = plain_field("When it was last switched on or off; null if it never was.")
    ready_at: DateTime | None = plain_field("Since when searches go by it.")
    looked_at: BigInt = plain_field("While it is made: how many calls were looked through for it so far.")
    total: BigInt = plain_field("How many calls there were when it was switched.")
    waiting: BigInt = plain_field(
        "How many calls wait to be indexed, many at once; searches look through them, so they are found as well."
    )
    cut: BigInt = plain_field(
        "How many calls had more than 2,000 different words in one of their texts when they were indexed: only the "
        "first are in the index, and a search with method: SCAN finds them by the others."
    )
    size_bytes: BigInt = plain_field("What the index takes, before MongoDB compresses it.")


@strawberry.type
class SearchIndexQueries:
    """The fields of Query about indexes of texts."""

    @resolved_field(
        "The index of a project's texts; null for a project that is not there.", returns=SearchIndexRes | None
    )
    async def search_index(self, info: Info, project_id: ProjectId) -> SearchIndex | None:
        """A project's index."""
        return await info.context.stores.text_search.index(project_id)


@strawberry.type
class SearchIndexMutations:
    """The fields of Mutation about indexes of texts."""

    @resolved_field(
        "Have an index of a project's texts from now on, or none. It is made, or taken away, while everything goes on; "
        "searchIndex tells how far that is. Indexing takes a server and the database about as much work again as the "
        "writes, some seconds later. It takes the role admin.",
        returns=SearchIndexRes,
    )
    async def search_index_set(self, info: Info, project_id: ProjectId, is_on: IsOn) -> SearchIndex:
        """Switch a project's index."""
        return await info.context.stores.text_search.set_index(project_id, is_on=is_on)
