"""Mutations that write objects and ops."""

from dataclasses import replace
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.objects.inputs import ObjSchemaForInsert
from stores.errors import StoreError
from stores.objects.classes import OBJECT, OP, Kind
from stores.refs import object_ref

Digests = Annotated[
    list[str] | None,
    strawberry.argument(
        description="Versions to delete, at most 100: each a digest, an index such as v3, or latest. All versions "
        "and their values if omitted or empty."
    ),
]


@strawberry.type(description="Result of `objCreate`.")
class ObjCreateRes:
    """Digest and ref of the version."""

    digest: str = plain_field("Digest of the value.")
    ref: strawberry.ID = plain_field(
        "Ref of the version. Calls and objects refer to the version by it, and node resolves it."
    )


@strawberry.type(description="Result of `opCreate`.")
class OpCreateRes(ObjCreateRes):
    """Digest and ref of the version."""


@strawberry.type(description="Result of `objDelete`.")
class ObjDeleteRes:
    """Number of deleted versions."""

    num_deleted: int = plain_field("Number of versions deleted by this request.")


@strawberry.type(description="Result of `opDelete`.")
class OpDeleteRes(ObjDeleteRes):
    """Number of deleted versions."""


async def _create(info: Info, obj: ObjSchemaForInsert, argument: str, kind: Kind | None = None) -> tuple[str, str]:
    """Create a version; return its digest and its ref."""
    try:
        version = replace(obj.to_store(), kind=kind)
        digest = await info.context.stores.objects.create(version)
    except StoreError as error:
        raise error.prefixed(argument) if error.argument else error from None
    name = {"project_id": version.project_id, "kind": version.kind or OBJECT, "object_id": version.object_id}
    return digest, object_ref(name | {"digest": digest})


@strawberry.type
class ObjectMutations:
    """Mutation fields that write objects and ops."""

    @resolved_field(
        "Creation of a version of an object, or of an op if the value is one; it becomes the latest version."
    )
    async def obj_create(
        self, info: Info, obj: Annotated[ObjSchemaForInsert, strawberry.argument(description="Version to create.")]
    ) -> ObjCreateRes:
        """Create a version; return its digest and its ref."""
        digest, ref = await _create(info, obj, "obj")
        return ObjCreateRes(digest=digest, ref=strawberry.ID(ref))

    @resolved_field("Creation of a version of an op, whatever its value; it becomes the latest version.")
    async def op_create(
        self, info: Info, op_obj: Annotated[ObjSchemaForInsert, strawberry.argument(description="Version to create.")]
    ) -> OpCreateRes:
        """Create a version of an op; return its digest and its ref."""
        digest, ref = await _create(info, op_obj, "op_obj", OP)
        return OpCreateRes(digest=digest, ref=strawberry.ID(ref))

    @resolved_field(
        "Deletion of versions of an object and of the op of the same name: those that `obj` returns, or all of both. "
        "Nothing is deleted if one of the versions is missing."
    )
    async def obj_delete(
        self,
        info: Info,
        project_id: ProjectId,
        object_id: Annotated[str, strawberry.argument(description="Name of the object.")],
        digests: Digests = None,
    ) -> ObjDeleteRes:
        """Delete versions of an object or an op; return their number."""
        deleted = await info.context.stores.objects.delete(project_id, object_id, digests)
        return ObjDeleteRes(num_deleted=deleted)

    @resolved_field(
        "Deletion of versions of an op; an object of the same name is kept. Nothing is deleted if one of the versions "
        "is missing."
    )
    async def op_delete(
        self,
        info: Info,
        project_id: ProjectId,
        name: Annotated[str, strawberry.argument(description="Name of the op.")],
        digests: Digests = None,
    ) -> OpDeleteRes:
        """Delete versions of an op; return their number."""
        deleted = await info.context.stores.objects.delete(project_id, name, digests, OP, "name")
        return OpDeleteRes(num_deleted=deleted)
