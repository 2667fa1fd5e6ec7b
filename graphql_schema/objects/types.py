"""GraphQL types of versions of objects and ops."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import json_field, plain_field, resolved_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import Call, File, Run, TableOf, Version, key_of, to_many, to_one
from graphql_schema.refs import ResolvedRef, refs_of
from graphql_schema.scalars import BigInt, DateTime
from stores.objects.documents import files_of, table_key
from stores.paging import Row
from stores.refs import object_ref
from stores.row_fields import JsonField


@strawberry.type(description="File of an object or op.")
class ObjFile:
    """File; the source is one of `stores.objects.documents.files_of`."""

    name: str = plain_field("Name of the file in the object, such as obj.py.")
    digest: str = plain_field("Digest of the file's content.")
    file = to_one(
        "File with this digest; null if it is not stored.",
        File | None,
        lambda stores: stores.files.by_keys,
        key_of("project_id", "digest"),
    )


@strawberry.type(description="Version of an object or op: an immutable value under a name.")
class ObjSchema(Node):
    """Version; the source is a row of `stores.objects`."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    object_id: str = plain_field("Name of the object, shared by all versions.")
    created_at: DateTime = plain_field("Creation time of the version.")
    deleted_at: DateTime | None = plain_field("Always null, because queries do not return deleted versions.")
    digest: str = plain_field("Digest of the value, which identifies the version.")
    version_index: int = plain_field(
        "Index of the version among all versions of the name, from 0; deleted versions count."
    )
    is_latest: int = plain_field("Flag of the latest version: 1 for the version that was written last, 0 for others.")
    kind: str = plain_field("Kind: object or op.")
    base_object_class: str | None = plain_field("Base class of the object; null for plain values.")
    leaf_object_class: str | None = plain_field("Class of the object; null for plain values.")
    val: JSON | None = json_field(JsonField("val"), "Value of the version: any JSON value.")
    wb_user_id: str | None = plain_field("User who created the version.")
    size_bytes: BigInt | None = plain_field("Size of the value as JSON text, in bytes.")

    ref: strawberry.ID = node_ref(
        object_ref, "Ref of the version. JSON values refer to the version by it, and node resolves it."
    )
    versions = to_many(
        "All versions of the name, sorted by index.",
        Version,
        lambda stores: stores.objects.versions,
        key_of("project_id", "kind", "object_id"),
    )
    used_by = to_many(
        "Calls with exactly this version as an input, the oldest first.",
        Call,
        lambda stores: stores.calls.consumers,
        lambda row: (row["project_id"], object_ref(row)),
    )

    evaluation_runs = to_many(
        "Evaluation runs with exactly this version as an input, the oldest first: the runs of an evaluation, or those "
        "that tested a model.",
        Run,
        lambda stores: stores.evaluations.runs_by_input,
        lambda row: (row["project_id"], object_ref(row)),
    )
    table = to_one(
        "Table at the ref in val.rows, if the object is a dataset; null otherwise.",
        TableOf | None,
        lambda stores: stores.tables.by_keys,
        table_key,
    )

    @resolved_field("Files of the object from val.files, such as the code of an op.", returns=list[ObjFile])
    def files(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """Return the files in val.files."""
        return files_of(parent)

    @resolved_field("Refs in the value, in their order, without duplicates.", returns=list[ResolvedRef])
    def refs(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """Return the refs in the value."""
        return refs_of(parent, "refs")
