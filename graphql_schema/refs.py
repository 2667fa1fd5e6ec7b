"""Refs in JSON values, and the root field that resolves refs."""

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


@strawberry.type(description="Ref in the value of a call or an object, with its target in the project.")
class ResolvedRef:
    """Ref; the source is a dict of `project_id` and `ref`."""

    ref: str = plain_field("Ref as it was written.")

    @resolved_field("Kind of the target: object, op, table, call or artifact.")
    def kind(self, parent: strawberry.Parent[Row]) -> str:
        """Return the kind of the target."""
        return kind_of(parent["ref"])

    @resolved_field(
        "Value of the target: the value of an object or op, or the part of it at the ref's path. Null if the target "
        "is deleted, missing or in another project, and for refs to tables, calls and artifacts."
    )
    async def value(self, info: Info, parent: strawberry.Parent[Row], path: JsonPath = None) -> JSON | None:
        """Read the value, batched over all refs of the page."""
        key = parent["project_id"], parent["ref"]
        found = await info.context.loaders.load(info.context.stores.refs.by_refs, key)
        try:
            text = _VALUE.text_at({"json": {"value": found}}, path) if found is not None else None
        except StoreError as error:
            raise error.prefixed("path") from None
        return None if text is None else JSON(text)

    obj = to_one(
        "Version of the object or op that the ref points to or into; null in the same cases as value.",
        Version | None,
        lambda stores: stores.objects.by_refs,
        lambda row: (row["project_id"], without_steps(row["ref"])),
    )


def refs_of(row: Row, field: str) -> list[Row]:
    """Return the refs in a field of a row, as sources of `ResolvedRef`."""
    return [{"project_id": row["project_id"], "ref": ref} for ref in row.get(field, ())]


@strawberry.type
class RefQueries:
    """Query field that resolves refs."""

    @resolved_field(
        "Values of refs to objects and ops, in the order of the refs. A value is that of a version, or the part at "
        "the ref's path; null if the target is missing or deleted. Refs on that path are followed within their "
        "project, including refs to rows of tables."
    )
    async def refs(
        self,
        info: Info,
        refs: Annotated[
            list[str],
            strawberry.argument(
                description="Refs to resolve, at most 1,000, such as "
                "weave:///entity/project/object/name:digest/key/messages/index/0."
            ),
        ],
    ) -> list[JSON | None]:
        """Return the values of the refs, in their order; None for a missing target."""
        found = await info.context.stores.refs.values(refs, allow_missing=True)
        return [None if text is None else JSON(text) for text in found]
