"""Refs in the API: what they lead to."""

from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.fields import JsonPath, plain_field, resolved_field
from graphql_schema.fields.relations import Version, to_one
from stores.errors import StoreError
from stores.paging import Row
from stores.refs import kind_of, without_steps
from stores.row_fields import JsonField

_VALUE = JsonField("value")


@strawberry.type(description="A ref in the value of a call or an object, and what it leads to inside the project.")
class ResolvedRef:
    """A ref; its source is a dict of `project_id` and `ref`."""

    ref: str = plain_field("The ref as it was written.")

    @resolved_field("What it is a ref to: object, op, table, call or artifact.")
    def kind(self, parent: strawberry.Parent[Row]) -> str:
        """The kind of what it leads to."""
        return kind_of(parent["ref"])

    @resolved_field(
        "The value that it leads to: of an object or op, at the ref's edges. Null where that is deleted, missing or in "
        "another project, and for refs to tables, calls and artifacts."
    )
    async def value(self, info: Info, parent: strawberry.Parent[Row], path: JsonPath = None) -> JSON | None:
        """The value that it leads to."""
        key = parent["project_id"], parent["ref"]
        found = await info.context.loaders.load(info.context.stores.refs.by_refs, key)
        try:
            text = _VALUE.text_at({"json": {"value": found}}, path) if found is not None else None
        except StoreError as error:
            raise error.prefixed("path") from None
        return None if text is None else JSON(text)

    obj = to_one(
        "The version of an object or op that it leads to, or into; null where value is null for the same reasons.",
        Version | None,
        lambda stores: stores.objects.by_refs,
        lambda row: (row["project_id"], without_steps(row["ref"])),
    )


def refs_of(row: Row, field: str) -> list[Row]:
    """The refs that a row has in a field, as sources of `ResolvedRef`."""
    return [{"project_id": row["project_id"], "ref": ref} for ref in row.get(field, ())]


@strawberry.type
class RefQueries:
    """The field of Query that resolves refs."""

    @resolved_field(
        "Values that refs to objects and ops lead to, in their order: the value of a version, or what lies inside it "
        "at the ref's edges; null where that is deleted, or was never there. Refs on the way are followed inside their "
        "project, also to rows of tables."
    )
    async def refs(
        self,
        info: Info,
        refs: Annotated[
            list[str],
            strawberry.argument(
                description="At most 1,000 refs, such as "
                "weave:///entity/project/object/name:digest/key/messages/index/0."
            ),
        ],
    ) -> list[JSON | None]:
        """Values that refs lead to."""
        found = await info.context.stores.refs.values(refs, allow_missing=True)
        return [None if text is None else JSON(text) for text in found]
