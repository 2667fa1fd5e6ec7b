"""What a version of an object looks like."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema import connections
from graphql_schema.connections import Listing, listed
from graphql_schema.context import Info
from graphql_schema.fields import described, json_field, resolved
from graphql_schema.refs import ResolvedRef, refs_of
from graphql_schema.scalars import BigInt, DateTime
from stores.json_fields import JsonField
from stores.paging import PageRequest, Row
from stores.refs import object_ref

if TYPE_CHECKING:
    from graphql_schema.calls.types import CallSchema


@strawberry.type(description="A version of an object or op: a value under a name, which never changes.")
class ObjSchema:
    """A version; its source is a row of `stores.objects`."""

    project_id: strawberry.ID = described("The project, as entity/project.")
    object_id: str = described("The name that all versions share.")
    created_at: DateTime = described("When this version was first made.")
    deleted_at: DateTime | None = described("Always null: what is deleted is not found.")
    digest: str = described("The digest of its value, by which it is called.")
    version_index: int = described("Its place among the versions of the name, from 0; deleted ones count.")
    is_latest: int = described("1 for the version of the name that was written last, 0 for the others.")
    kind: str = described("object or op.")
    base_object_class: str | None = described("The class that it descends from; null for plain values.")
    leaf_object_class: str | None = described("The class that it is of; null for plain values.")
    val: JSON | None = json_field(JsonField("val"), "The value: any JSON.")
    wb_user_id: str | None = described("Who made it first.")
    size_bytes: BigInt | None = described("What the value takes as JSON text.")

    @resolved("Its ref, by which values point to it.")
    def ref(self, parent: strawberry.Parent[Row]) -> str:
        """The ref of this version."""
        return object_ref(parent)

    @resolved("The refs in its value, in their order, each once.", returns=list[ResolvedRef])
    def refs(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """The refs in its value."""
        return refs_of(parent, "refs")

    @listed("All versions of the name, by index.", of="ObjSchema")
    async def versions(self, info: Info, parent: strawberry.Parent[Row], *, request: PageRequest) -> Listing:
        """A page of the versions of the name."""
        load, store = info.context.loaders.load, info.context.stores.objects
        name = parent["project_id"], parent["kind"], parent["object_id"]
        page = await load(store.all_versions, name, connections.frozen_of_nodes(info), request)
        return Listing(page, partial(load, store.count_versions, name))

    @listed(
        "The calls that took just this version as an input, the oldest first.",
        of=Annotated["CallSchema", strawberry.lazy("graphql_schema.calls.types")],
    )
    async def used_by(self, info: Info, parent: strawberry.Parent[Row], *, request: PageRequest) -> Listing:
        """A page of the calls that took it."""
        load, store = info.context.loaders.load, info.context.stores.calls
        key = parent["project_id"], object_ref(parent)
        page = await load(store.taking, key, connections.frozen_of_nodes(info), request)
        return Listing(page, partial(load, store.count_taking, key))
