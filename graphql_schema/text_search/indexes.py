"""Text index of a project: switch and progress."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.scalars import BigInt, DateTime
from stores.text_search import SearchIndex

IsOn = Annotated[bool, strawberry.argument(description="True if the project is to have an index.")]


@strawberry.type(description="Text index of a project, which makes searches fast.")
class SearchIndexRes:
    """Text index; the source is `stores.text_search.SearchIndex`."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    is_on: bool = plain_field("True if the project has an index, even if it is not ready yet.")
    is_ready: bool = plain_field("True if searches use the index; until then they scan.")
    set_at: DateTime | None = plain_field("Time when the index was last switched on or off; null if it never was.")
    ready_at: DateTime | None = plain_field("Time since which searches use the index; null if it is not ready.")
    looked_at: BigInt = plain_field("Number of calls processed so far while the index is built.")
    total: BigInt = plain_field("Number of calls when the index was switched on or off.")
    waiting: BigInt = plain_field(
        "Number of calls waiting to be indexed in batches; searches scan them, so their results are complete."
    )
    cut: BigInt = plain_field(
        "Number of calls with a text of more than 2,000 different words when they were indexed. The index has only "
        "the first of these words; a search with method: SCAN finds the others."
    )
    size_bytes: BigInt = plain_field("Size of the index in bytes, before compression by MongoDB.")


@strawberry.type
class SearchIndexQueries:
    """Query fields about text indexes."""

    @resolved_field("Text index of a project; null if the project is missing.", returns=SearchIndexRes | None)
    async def search_index(self, info: Info, project_id: ProjectId) -> SearchIndex | None:
        """Read the state of the index; None if the project is missing."""
        return await info.context.stores.text_search.index(project_id)


@strawberry.type
class SearchIndexMutations:
    """Mutation fields about text indexes."""

    @resolved_field(
        "Switch of a project's text index. The index is built or removed in the background; searchIndex reports the "
        "progress. Indexing about doubles the load of writes on the server and on MongoDB, with a delay of seconds. "
        "It requires the role admin.",
        returns=SearchIndexRes,
    )
    async def search_index_set(self, info: Info, project_id: ProjectId, is_on: IsOn) -> SearchIndex:
        """Switch the index on or off; return its state."""
        return await info.context.stores.text_search.set_index(project_id, is_on=is_on)
