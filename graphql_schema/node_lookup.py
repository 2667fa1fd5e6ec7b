"""Root fields that look up any entity by its ref."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Annotated, Final

import strawberry

from graphql_schema.context import Info, Stores
from graphql_schema.fields import resolved_field
from graphql_schema.fields.node_interface import TYPENAME, Node
from graphql_schema.fields.relations import Find
from graphql_schema.fields.selection import selected_fields_of_types
from stores.errors import BadInputError
from stores.paging import Row
from stores.refs import EntityKind, EntityRef, parse_entity
from stores.threads import Period

MAX_NODES: Final = 1_000
"""Maximum number of refs in one request."""

Ref = Annotated[strawberry.ID, strawberry.argument(description="Ref of an entity, as its field ref returns it.")]
Refs = Annotated[
    list[strawberry.ID],
    strawberry.argument(description=f"Refs of entities, as their field ref returns them; at most {MAX_NODES:,}."),
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

    @resolved_field(
        "Entity with a ref; null if it is missing or deleted. Select its fields by a fragment on its type: `... on "
        "CallSchema { id }`.",
        returns=Node | None,
    )
    async def node(self, info: Info, id: Ref) -> Row | None:  # noqa: A002 -- Relay's name
        """Look up an entity by its ref; None if it is missing."""
        return await load_node(info, _parsed(id, "id"))

    @resolved_field(
        "Entities with refs, in the order of the refs; null for each that is missing or deleted.",
        returns=list[Node | None],
    )
    async def nodes(self, info: Info, ids: Refs) -> list[Row | None]:
        """Look up entities by their refs; None for each that is missing."""
        if len(ids) > MAX_NODES:
            raise BadInputError(f"has {len(ids):,} refs; the limit is {MAX_NODES:,} per request", "ids")
        refs = [_parsed(text, f"ids.{position}") for position, text in enumerate(ids)]
        return await asyncio.gather(*(load_node(info, ref) for ref in refs))


async def load_node(info: Info, ref: EntityRef) -> Row | None:
    """Load the row of a ref with the selected fields and its type name; None if it is missing."""
    lookup = NODE_LOOKUPS[ref.kind]
    wanted = frozenset(selected_fields_of_types(info, lookup.type, Node.__name__))
    row = await info.context.loaders.load(lookup.find(info.context.stores), lookup.key(ref), wanted)
    return None if row is None else row | {TYPENAME: lookup.type}


def _parsed(text: str, argument: str) -> EntityRef:
    try:
        return parse_entity(text)
    except BadInputError as error:
        raise error.prefixed(argument) from None
