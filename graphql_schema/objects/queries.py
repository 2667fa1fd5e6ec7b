"""Queries that read objects and ops."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, connections, found_or_null, resolved_field, to_store
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.selection import selected_fields
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.objects.inputs import ObjectVersionFilter, OpVersionFilter
from graphql_schema.objects.types import ObjSchema
from stores.objects import ObjectsFilter
from stores.objects.classes import OP
from stores.objects.fields import INDEXED_OBJECT_FIELDS
from stores.objects.inputs import check_object_id
from stores.paging import PageRequest, Row

Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="Sort order, by fields and by paths into val; the oldest first if omitted or empty."
    ),
]
Where = Annotated[
    QueryInput | None,
    strawberry.argument(description="Condition on fields of the versions and on paths into val; none if omitted."),
]
Version = Annotated[str, strawberry.argument(description="Digest, index such as v3, or latest.")]


@strawberry.type
class ObjectQueries:
    """Query fields that read objects and ops."""

    @resolved_field(
        "Version of an object or op; the object's version if both exist. Null if it is missing or deleted.",
        returns=ObjSchema | None,
    )
    async def obj(
        self,
        info: Info,
        project_id: ProjectId,
        object_id: Annotated[str, strawberry.argument(description="Name of the object.")],
        digest: Version = "latest",
    ) -> Row | None:
        """Read a version of an object or op; None if it is missing or deleted."""
        check_object_id(object_id)
        objects = info.context.stores.objects
        return await found_or_null(objects.one(project_id, object_id, digest, selected_fields(info)))

    @connection_field(
        "Page of the project's objects and ops, with one entry per version.",
        of=ObjSchema,
        indexed=INDEXED_OBJECT_FIELDS,
    )
    async def objs(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Annotated[  # noqa: A002 -- the API's name
            ObjectVersionFilter | None,
            strawberry.argument(description="Filter of the versions; all versions if omitted."),
        ] = None,
        query: Where = None,
        sort_by: Sort = None,
        *,
        request: PageRequest,
    ) -> Listing:
        """Return a page of versions and a function that counts all of them."""
        return await _listing(info, project_id, to_store(filter), query, sort_by, request)

    @resolved_field("Version of an op; null if it is missing or deleted.", returns=ObjSchema | None)
    async def op(
        self,
        info: Info,
        project_id: ProjectId,
        name: Annotated[str, strawberry.argument(description="Name of the op.")],
        digest: Version = "latest",
    ) -> Row | None:
        """Read a version of an op; None if it is missing or deleted."""
        check_object_id(name, "name")
        return await found_or_null(info.context.stores.objects.one(project_id, name, digest, selected_fields(info), OP))

    @connection_field(
        "Page of the project's ops, with one entry per version.", of=ObjSchema, indexed=INDEXED_OBJECT_FIELDS
    )
    async def ops(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Annotated[  # noqa: A002 -- the API's name
            OpVersionFilter | None, strawberry.argument(description="Filter of the versions; all versions if omitted.")
        ] = None,
        query: Where = None,
        sort_by: Sort = None,
        *,
        request: PageRequest,
    ) -> Listing:
        """Return a page of versions of ops and a function that counts all of them."""
        names, latest_only = (filter.op_names, filter.latest_only) if filter else (None, None)
        which = ObjectsFilter(object_ids=names, latest_only=latest_only, is_op=True, ids_argument="op_names")
        return await _listing(info, project_id, which, query, sort_by, request)


async def _listing(
    info: Info,
    project_id: str,
    which: ObjectsFilter | None,
    query: QueryInput | None,
    sort_by: list[SortBy] | None,
    request: PageRequest,
) -> Listing:
    objects, where = info.context.stores.objects, to_store(query)
    wanted = connections.selected_node_fields(info)
    page = await objects.page(project_id, request, wanted, which, sort_keys(sort_by), where)
    return Listing(page, partial(objects.count, project_id, which, where))
