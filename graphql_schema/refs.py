"""Refs: in JSON values, and the fields that find entities and values by them."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info, Stores
from graphql_schema.fields import TYPENAME, JsonPath, Node, argument, computed_field, resolved_field, selected_fields
from graphql_schema.fields.connections import Find, Version, batched_resolver, to_one
from stores.concurrency.time_slices import cooperative_batches
from stores.errors import BadInputError, StoreError
from stores.paging import JsonField, Row
from stores.refs import EntityKind, EntityRef, kind_of, parse_entity, without_steps
from stores.threads import Period

MAX_NODES: Final = 1_000
"""Maximum number of refs in one request."""

_VALUE = JsonField("value")

Ref = Annotated[strawberry.ID, argument("Ref of an entity, as its field ref returns it.")]
Refs = Annotated[
    list[strawberry.ID], argument(f"Refs of entities, as their field ref returns them; at most {MAX_NODES:,}.")
]


@dataclass(frozen=True, slots=True)
class NodeLookup:
    """Lookup of one kind of entity: name of the GraphQL type, lookup function, and key of a ref."""

    type: str
    find: Callable[[Stores], Find]
    key: Callable[[EntityRef], Hashable]


def _by_name(ref: EntityRef) -> Hashable:
    return ref.project_id, ref.name


def _by_ref(ref: EntityRef) -> Hashable:
    return ref.project_id, str(ref)


def _by_period(ref: EntityRef) -> Hashable:
    return ref.project_id, Period(ref.after, ref.before), ref.name


NODE_LOOKUPS: Final[dict[EntityKind, NodeLookup]] = {
    "call": NodeLookup("CallSchema", lambda stores: stores.calls.by_keys, _by_name),
    "trace": NodeLookup("Trace", lambda stores: stores.traces.by_keys, _by_name),
    "thread": NodeLookup("ThreadSchema", lambda stores: stores.threads.by_keys, _by_period),
    "object": NodeLookup("ObjSchema", lambda stores: stores.objects.by_refs, _by_ref),
    "op": NodeLookup("ObjSchema", lambda stores: stores.objects.by_refs, _by_ref),
    "feedback": NodeLookup("Feedback", lambda stores: stores.feedback.by_keys, _by_name),
    "cost": NodeLookup("CostQueryOutput", lambda stores: stores.costs.by_keys, _by_name),
    "table": NodeLookup("Table", lambda stores: stores.tables.by_keys, _by_name),
    "row": NodeLookup(
        "TableRowSchema", lambda stores: stores.tables.rows_at, lambda ref: (ref.project_id, ref.name, ref.index)
    ),
    "file": NodeLookup("FileContentReadRes", lambda stores: stores.files.by_keys, _by_name),
    "project": NodeLookup("Project", lambda stores: stores.projects.by_ids, lambda ref: ref.project_id),
}


@strawberry.type
class NodeQueries:
    """Query fields that look up any entity by its ref."""

    @resolved_field(returns=Node | None)
    async def node(self, info: Info, id: Ref) -> Row | None:
        """Entity with a ref; null if it is missing or deleted.

        Select its fields by a fragment on its type: `... on CallSchema { id }`.
        """
        return (await load_nodes(info, [_parsed(id, "id")]))[0]

    @resolved_field(returns=list[Node | None])
    async def nodes(self, info: Info, ids: Refs) -> list[Row | None]:
        """Entities with refs, in the order of the refs; null for each that is missing or deleted."""
        if len(ids) > MAX_NODES:
            raise BadInputError(f"has {len(ids):,} refs; the limit is {MAX_NODES:,} per request", "ids")
        return await load_nodes(info, [_parsed(text, f"ids.{position}") for position, text in enumerate(ids)])


async def load_nodes(info: Info, refs: Sequence[EntityRef | None]) -> list[Row | None]:
    """Load the rows of refs with the selected fields and their type names; None for a missing row or ref."""
    kinds = {ref.kind for ref in refs if ref}
    of_kinds = await asyncio.gather(
        *(_load_kind(info, kind, [ref for ref in refs if ref and ref.kind == kind]) for kind in kinds)
    )
    found = {ref: row for of_kind in of_kinds for ref, row in of_kind.items()}
    return [found[ref] if ref else None for ref in refs]


async def _load_kind(info: Info, kind: EntityKind, refs: Sequence[EntityRef]) -> dict[EntityRef, Row | None]:
    lookup = NODE_LOOKUPS[kind]
    wanted = frozenset(selected_fields(info, types=(lookup.type, Node.__name__)))
    keys = {ref: lookup.key(ref) for ref in refs}
    found = await info.context.loaders.load_all(lookup.find(info.context.stores), keys.values(), wanted)
    rows = {ref: found[key] for ref, key in keys.items()}
    return {ref: None if row is None else row | {TYPENAME: lookup.type} for ref, row in rows.items()}


def _parsed(text: str, argument: str) -> EntityRef:
    try:
        return parse_entity(text)
    except BadInputError as error:
        raise error.prefixed(argument) from None


async def _values(info: Info, parents: Sequence[Row], path: str | None = None) -> list[str | None]:
    keys = [(parent["project_id"], parent["ref"]) for parent in parents]
    found = await info.context.loaders.load_all(info.context.stores.refs.by_refs, keys)
    try:
        return [
            _VALUE.text_at({"json": {"value": found[key]}}, path) if found[key] is not None else None
            async for some in cooperative_batches(keys)
            for key in some
        ]
    except StoreError as error:
        raise error.prefixed("path") from None


@strawberry.type
class ResolvedRef:
    """Ref in the value of a call or an object, with its target in the project."""

    # The source is a dict of `project_id` and `ref`.

    ref: str
    """Ref as it was written."""

    kind = computed_field(lambda row: kind_of(row["ref"]), str)
    """Kind of the target: object, op, table, call or artifact."""

    value = resolved_field(returns=JSON | None)(batched_resolver(_values, {"path": JsonPath}))
    """Value of the target: the value of an object or op, or the part of it at the ref's path. Null if the target is
    deleted, missing or in another project, and for refs to tables, calls and artifacts.
    """

    obj = to_one(
        Version | None,
        lambda stores: stores.objects.by_refs,
        lambda row: (row["project_id"], without_steps(row["ref"])),
    )
    """Version of the object or op that the ref points to or into; null in the same cases as value."""


def refs_of(row: Row, field: str) -> list[Row]:
    """Return the refs in a field of a row, as sources of `ResolvedRef`."""
    return [{"project_id": row["project_id"], "ref": ref} for ref in row.get(field, ())]


@strawberry.type
class RefQueries:
    """Query field that resolves refs."""

    @resolved_field()
    async def refs(self, info: Info, refs: list[str]) -> list[JSON | None]:
        """Values of refs to objects and ops, in the order of the refs.

        A value is that of a version, or the part at the ref's path; null if the target is missing or deleted. Refs on
        that path are followed within their project, including refs to rows of tables.

        Args:
            refs: Refs to resolve, at most 1,000, such as
                weave:///entity/project/object/name:digest/key/messages/index/0.
        """
        found = await info.context.stores.refs.values(refs, allow_missing=True)
        return [None if text is None else JSON(text) for text in found]
