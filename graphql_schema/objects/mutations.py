"""Writing objects and ops."""

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
        description="At most 100 versions, each a digest, an index such as v3, or latest. All versions if left out or "
        "empty, and their values with them."
    ),
]


@strawberry.type(description="A version of an object that is there now.")
class ObjCreateRes:
    """The digest and the ref."""

    digest: str = plain_field("The digest of its value.")
    ref: strawberry.ID = plain_field("Ref of the version: calls and objects name it by this, and node finds it again.")


@strawberry.type(description="A version of an op that is there now.")
class OpCreateRes:
    """The digest and the ref."""

    digest: str = plain_field("The digest of its value.")
    ref: strawberry.ID = plain_field("Ref of the version: calls and objects name it by this, and node finds it again.")


@strawberry.type(description="A delete of versions.")
class ObjDeleteRes:
    """How many."""

    num_deleted: int = plain_field("How many versions were there and are gone.")


@strawberry.type(description="The result of `opDelete`.")
class OpDeleteRes:
    """How many."""

    num_deleted: int = plain_field("The number of versions that were there and are gone.")


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
    """The fields of Mutation that write objects and ops."""

    @resolved_field("Make a version of an object, or of an op if its value is one; it is the latest then.")
    async def obj_create(
        self, info: Info, obj: Annotated[ObjSchemaForInsert, strawberry.argument(description="The version.")]
    ) -> ObjCreateRes:
        """Make a version."""
        digest, ref = await _create(info, obj, "obj")
        return ObjCreateRes(digest=digest, ref=strawberry.ID(ref))

    @resolved_field("Make a version of an op, whatever its value; it is the latest then.")
    async def op_create(
        self, info: Info, op_obj: Annotated[ObjSchemaForInsert, strawberry.argument(description="The version.")]
    ) -> OpCreateRes:
        """Make a version of an op."""
        digest, ref = await _create(info, op_obj, "op_obj", OP)
        return OpCreateRes(digest=digest, ref=strawberry.ID(ref))

    @resolved_field(
        "Deletion of versions of an object and of the op of that name: those that `obj` reads, or all of both. If one "
        "is not there, none is deleted."
    )
    async def obj_delete(
        self,
        info: Info,
        project_id: ProjectId,
        object_id: Annotated[str, strawberry.argument(description="The object's name.")],
        digests: Digests = None,
    ) -> ObjDeleteRes:
        """Delete versions of an object or an op."""
        deleted = await info.context.stores.objects.delete(project_id, object_id, digests)
        return ObjDeleteRes(num_deleted=deleted)

    @resolved_field(
        "Deletion of versions of an op; an object of that name stays. If one is not there, none is deleted."
    )
    async def op_delete(
        self,
        info: Info,
        project_id: ProjectId,
        name: Annotated[str, strawberry.argument(description="The op's name.")],
        digests: Digests = None,
    ) -> OpDeleteRes:
        """Delete versions of an op."""
        deleted = await info.context.stores.objects.delete(project_id, name, digests, OP, "name")
        return OpDeleteRes(num_deleted=deleted)
