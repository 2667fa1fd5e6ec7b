"""Queries that read objects and ops."""

from typing import Annotated, Final

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, found_or_null, resolved_field
from graphql_schema.fields.connections import list_field
from graphql_schema.fields.selection import selected_fields
from graphql_schema.objects.inputs import ObjectVersionFilter, OpVersionFilter
from graphql_schema.objects.types import ObjSchema
from stores.objects.classes import OP
from stores.objects.filters import INDEXED_OBJECT_FIELDS
from stores.objects.inputs import check_object_id
from stores.paging import Row

_SORT: Final = "Sort order, by fields and by paths into val; the oldest first if omitted or empty."
_CONDITION: Final = "Condition on fields of the versions and on paths into val; none if omitted."
_FILTER: Final = strawberry.argument(description="Filter of the versions; all versions if omitted.")

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

    objs = list_field(
        "Page of the project's objects and ops, with one entry per version.",
        ObjSchema,
        lambda stores: stores.objects,
        filter=Annotated[ObjectVersionFilter | None, _FILTER],
        query=_CONDITION,
        sort=_SORT,
        indexed=INDEXED_OBJECT_FIELDS,
    )

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

    ops = list_field(
        "Page of the project's ops, with one entry per version.",
        ObjSchema,
        lambda stores: stores.objects,
        filter=Annotated[OpVersionFilter | None, _FILTER],
        to_filter=lambda _, given: (given or OpVersionFilter()).to_store(),
        query=_CONDITION,
        sort=_SORT,
        indexed=INDEXED_OBJECT_FIELDS,
    )
