"""Objects and ops: versions, and the fields that read and write them."""

from dataclasses import replace
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import (
    Node,
    ProjectId,
    argument,
    computed_field,
    found_or_null,
    json_field,
    node_ref,
    resolved_field,
    selected_fields,
)
from graphql_schema.fields.connections import Call, File, Run, TableOf, Version, key_of, list_field, to_many, to_one
from graphql_schema.refs import ResolvedRef, refs_of
from stores import objects as store
from stores.errors import BadInputError, StoreError
from stores.objects.classes import OBJECT, OP, Kind
from stores.objects.documents import check_object_id, files_of, table_key
from stores.objects.store import INDEXED_OBJECT_FIELDS
from stores.paging import JsonField, Row
from stores.refs import object_ref


@strawberry.type
class ObjFile:
    """File of an object or op."""

    # The source is one of `stores.objects.documents.files_of`.

    name: str
    """Name of the file in the object, such as obj.py."""
    digest: str
    """Digest of the file's content."""
    file = to_one(File | None, lambda stores: stores.files.by_keys, key_of("project_id", "digest"))
    """File with this digest; null if it is not stored."""


@strawberry.type
class ObjSchema(Node):
    """Version of an object or op: an immutable value under a name."""

    # The source is a row of `stores.objects`.

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    object_id: str
    """Name of the object, shared by all versions."""
    created_at: DateTime
    """Creation time of the version."""
    deleted_at: DateTime | None
    """Always null, because queries do not return deleted versions."""
    digest: str
    """Digest of the value, which identifies the version."""
    version_index: int
    """Index of the version among all versions of the name, from 0; deleted versions count."""
    is_latest: int
    """Flag of the latest version: 1 for the version that was written last, 0 for others."""
    kind: str
    """Kind: object or op."""
    base_object_class: str | None
    """Base class of the object; null for plain values."""
    leaf_object_class: str | None
    """Class of the object; null for plain values."""
    val: JSON | None = json_field(JsonField("val"))
    """Value of the version: any JSON value."""
    wb_user_id: str | None
    """User who created the version."""
    size_bytes: BigInt | None
    """Size of the value as JSON text, in bytes."""

    ref: strawberry.ID = node_ref(object_ref)
    """Ref of the version. JSON values refer to the version by it, and node resolves it."""
    versions = to_many(Version, lambda stores: stores.objects.versions, key_of("project_id", "kind", "object_id"))
    """All versions of the name, sorted by index."""
    used_by = to_many(Call, lambda stores: stores.calls.consumers, lambda row: (row["project_id"], object_ref(row)))
    """Calls with exactly this version as an input, the oldest first."""

    evaluation_runs = to_many(
        Run, lambda stores: stores.evaluations.runs_by_input, lambda row: (row["project_id"], object_ref(row))
    )
    """Evaluation runs with exactly this version as an input, the oldest first: the runs of an evaluation, or those that
    tested a model.
    """
    table = to_one(TableOf | None, lambda stores: stores.tables.by_keys, table_key)
    """Table at the ref in val.rows, if the object is a dataset; null otherwise."""

    files = computed_field(files_of, list[ObjFile])
    """Files of the object from val.files, such as the code of an op."""

    refs = computed_field(lambda row: refs_of(row, "refs"), list[ResolvedRef])
    """Refs in the value, in their order, without duplicates."""


@strawberry.input
class ObjectVersionFilter:
    """Filter of versions.

    A version matches if each non-empty list contains its value and all other conditions hold. An empty or omitted list
    sets no condition. Each list has at most 1,000 entries.
    """

    base_object_classes: list[str] | None = None
    """Base classes of the objects."""
    exclude_base_object_classes: list[str] | None = None
    """Base classes to exclude; objects without a class are excluded too."""
    leaf_object_classes: list[str] | None = None
    """Classes of the objects themselves."""
    object_ids: list[str] | None = None
    """Names of the objects."""
    is_op: bool | None = None
    """True if only ops match, false if only other objects match; both match if omitted."""
    latest_only: bool | None = None
    """True if only the latest version of each name matches."""

    def to_store(self) -> store.ObjectsFilter:
        """Convert to the filter of `stores.objects`."""
        return store.ObjectsFilter(**vars(self))


@strawberry.input
class OpVersionFilter:
    """Filter of versions of ops; an empty or omitted list sets no condition."""

    op_names: list[str] | None = None
    """Names of the ops, at most 1,000."""
    latest_only: bool | None = None
    """True if only the latest version of each op matches."""

    def to_store(self) -> store.ObjectsFilter:
        """Convert to a filter of `stores.objects` that only ops match."""
        return store.ObjectsFilter(
            object_ids=self.op_names, latest_only=self.latest_only, is_op=True, ids_argument="op_names"
        )


@strawberry.input
class ObjSchemaForInsert:
    """Version of an object or op, identified by the digest of its value.

    An existing version keeps its index, is restored if it was deleted, and becomes the latest.
    """

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    object_id: str
    """Name of the object: 1 to 128 letters, digits, dots, underscores and hyphens."""
    val: JSON | None = strawberry.UNSET
    """Value of the version: any JSON value; null must be explicit. A value with `_type` "Op" makes an op; `_class_name`
    and `_bases` state the class.
    """
    builtin_object_class: str | None = None
    """Built-in class, such as AnnotationSpec, Provider or SavedView, that validates and completes the value; none if
    omitted.
    """
    set_base_object_class: str | None = None
    """Built-in class, under its old argument name."""
    wb_user_id: str | None = None
    """User who writes; the caller if omitted."""

    def to_store(self) -> store.ObjectVersion:
        """Convert to the version of `stores.objects`.

        Raises:
            BadInputError: if the client omitted `val`.
        """
        if self.val is strawberry.UNSET:
            raise BadInputError("is required; send null explicitly if the value is null", "val")
        return store.ObjectVersion(**vars(self))


VersionName = Annotated[str, argument("Digest, index such as v3, or latest.")]


@strawberry.type
class ObjectQueries:
    """Query fields that read objects and ops."""

    @resolved_field(returns=ObjSchema | None)
    async def obj(
        self, info: Info, project_id: ProjectId, object_id: str, digest: VersionName = "latest"
    ) -> Row | None:
        """Version of an object or op; the object's version if both exist.

        Null if it is missing or deleted.

        Args:
            object_id: Name of the object.
        """
        check_object_id(object_id)
        objects = info.context.stores.objects
        return await found_or_null(objects.one(project_id, object_id, digest, selected_fields(info)))

    objs = list_field(
        ObjSchema,
        lambda stores: stores.objects,
        filter=ObjectVersionFilter,
        has_query=True,
        indexed=INDEXED_OBJECT_FIELDS,
    )
    """Page of the project's objects and ops, with one entry per version.

    Args:
        filter: Filter of the versions; all versions if omitted.
        query: Condition on fields of the versions and on paths into val; none if omitted.
        sort_by: Sort order, by fields and by paths into val; the oldest first if omitted or empty.
    """

    @resolved_field(returns=ObjSchema | None)
    async def op(self, info: Info, project_id: ProjectId, name: str, digest: VersionName = "latest") -> Row | None:
        """Version of an op; null if it is missing or deleted.

        Args:
            name: Name of the op.
        """
        check_object_id(name, "name")
        return await found_or_null(info.context.stores.objects.one(project_id, name, digest, selected_fields(info), OP))

    ops = list_field(
        ObjSchema,
        lambda stores: stores.objects,
        filter=OpVersionFilter,
        to_filter=lambda _, given: (given or OpVersionFilter()).to_store(),
        has_query=True,
        indexed=INDEXED_OBJECT_FIELDS,
    )
    """Page of the project's ops, with one entry per version.

    Args:
        filter: Filter of the versions; all versions if omitted.
        query: Condition on fields of the versions and on paths into val; none if omitted.
        sort_by: Sort order, by fields and by paths into val; the oldest first if omitted or empty.
    """


Digests = Annotated[
    list[str] | None,
    argument(
        "Versions to delete, at most 100: each a digest, an index such as v3, or latest. All versions "
        "and their values if omitted or empty."
    ),
]


@strawberry.type
class ObjCreateRes:
    """Result of `objCreate`."""

    digest: str
    """Digest of the value."""
    ref: strawberry.ID
    """Ref of the version. Calls and objects refer to the version by it, and node resolves it."""


@strawberry.type
class OpCreateRes(ObjCreateRes):
    """Result of `opCreate`."""


@strawberry.type
class ObjDeleteRes:
    """Result of `objDelete`."""

    num_deleted: int
    """Number of versions deleted by this request."""


@strawberry.type
class OpDeleteRes(ObjDeleteRes):
    """Result of `opDelete`."""


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

    @resolved_field()
    async def obj_create(self, info: Info, obj: ObjSchemaForInsert) -> ObjCreateRes:
        """Creation of a version of an object, or of an op if the value is one; it becomes the latest version.

        Args:
            obj: Version to create.
        """
        digest, ref = await _create(info, obj, "obj")
        return ObjCreateRes(digest=digest, ref=strawberry.ID(ref))

    @resolved_field()
    async def op_create(self, info: Info, op_obj: ObjSchemaForInsert) -> OpCreateRes:
        """Creation of a version of an op, whatever its value; it becomes the latest version.

        Args:
            op_obj: Version to create.
        """
        digest, ref = await _create(info, op_obj, "op_obj", OP)
        return OpCreateRes(digest=digest, ref=strawberry.ID(ref))

    @resolved_field()
    async def obj_delete(
        self, info: Info, project_id: ProjectId, object_id: str, digests: Digests = None
    ) -> ObjDeleteRes:
        """Deletion of versions of an object and of the op of the same name: those that `obj` returns, or all of both.

        Nothing is deleted if one of the versions is missing.

        Args:
            object_id: Name of the object.
        """
        deleted = await info.context.stores.objects.delete(project_id, object_id, digests)
        return ObjDeleteRes(num_deleted=deleted)

    @resolved_field()
    async def op_delete(self, info: Info, project_id: ProjectId, name: str, digests: Digests = None) -> OpDeleteRes:
        """Deletion of versions of an op; an object of the same name is kept.

        Nothing is deleted if one of the versions is missing.

        Args:
            name: Name of the op.
        """
        deleted = await info.context.stores.objects.delete(project_id, name, digests, OP, "name")
        return OpDeleteRes(num_deleted=deleted)
