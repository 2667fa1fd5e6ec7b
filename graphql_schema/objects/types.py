"""What a version of an object looks like."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import json_field, plain_field, resolved_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import Call, File, Run, TableOf, Version, key_of, to_many, to_one
from graphql_schema.refs import ResolvedRef, refs_of
from graphql_schema.scalars import BigInt, DateTime
from stores.objects.linked_content import files_of, table_key
from stores.paging import Row
from stores.refs import object_ref
from stores.row_fields import JsonField


@strawberry.type(description="A file that an object or op is made of.")
class ObjFile:
    """A file; its source is one of `stores.objects.linked_content.files_of`."""

    name: str = plain_field("Its name there, such as obj.py.")
    digest: str = plain_field("The digest of its content.")
    file = to_one(
        "The file; null where it was never stored.",
        File | None,
        lambda stores: stores.files.by_keys,
        key_of("project_id", "digest"),
    )


@strawberry.type(description="A version of an object or op: a value under a name, which never changes.")
class ObjSchema(Node):
    """A version; its source is a row of `stores.objects`."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    object_id: str = plain_field("The name that all versions share.")
    created_at: DateTime = plain_field("When this version was first made.")
    deleted_at: DateTime | None = plain_field("Always null: what is deleted is not found.")
    digest: str = plain_field("The digest of its value, by which it is called.")
    version_index: int = plain_field("Its place among the versions of the name, from 0; deleted ones count.")
    is_latest: int = plain_field("1 for the version of the name that was written last, 0 for the others.")
    kind: str = plain_field("object or op.")
    base_object_class: str | None = plain_field("The class that it descends from; null for plain values.")
    leaf_object_class: str | None = plain_field("The class that it is of; null for plain values.")
    val: JSON | None = json_field(JsonField("val"), "The value: any JSON.")
    wb_user_id: str | None = plain_field("Who made it first.")
    size_bytes: BigInt | None = plain_field("What the value takes as JSON text.")

    ref: strawberry.ID = node_ref(object_ref, "Its ref, by which values point to it, and node finds it again.")
    versions = to_many(
        "All versions of the name, by index.",
        Version,
        lambda stores: stores.objects.versions,
        key_of("project_id", "kind", "object_id"),
    )
    used_by = to_many(
        "The calls that took just this version as an input, the oldest first.",
        Call,
        lambda stores: stores.calls.consumers,
        lambda row: (row["project_id"], object_ref(row)),
    )

    evaluation_runs = to_many(
        "The runs of evaluations that took just this version as an input, the oldest first: of an evaluation those of "
        "it, of a model those that tried it.",
        Run,
        lambda stores: stores.evaluations.runs_by_input,
        lambda row: (row["project_id"], object_ref(row)),
    )
    table = to_one(
        "The table that its rows are in, if it is a dataset: what the ref at val.rows leads to.",
        TableOf | None,
        lambda stores: stores.tables.by_keys,
        table_key,
    )

    @resolved_field("The files that it is made of, as an op is of its code: those at val.files.", returns=list[ObjFile])
    def files(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """Its files."""
        return files_of(parent)

    @resolved_field("The refs in its value, in their order, each once.", returns=list[ResolvedRef])
    def refs(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """The refs in its value."""
        return refs_of(parent, "refs")
