"""Lists of a project as its fields: each has the name and the arguments of a Query field."""

from inspect import Parameter, signature
from typing import Any, Final, cast

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields.connections import Connection, Listing
from stores.paging import Row

_SUPPLIED: Final = {"self", "info", "project_id"}


def of_project(description: str, of: object, queries: type, name: str) -> Any:  # noqa: ANN401 -- a field
    """Connection of nodes `of` a type: the field `name` of `queries`, restricted to the parent project."""
    root = cast("Any", queries).__strawberry_definition__.get_field(name)
    list_of = root.base_resolver.wrapped_func

    async def resolve(info: Info, parent: strawberry.Parent[Row], **arguments: Any) -> Listing:  # noqa: ANN401 -- the list's arguments
        found: Listing = await list_of(None, info=info, project_id=parent["id"], **arguments)
        return found

    own = [each for each in signature(resolve).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    parameters = [each for each in signature(list_of).parameters.values() if each.name not in _SUPPLIED]
    resolve.__signature__ = signature(resolve).replace(  # type: ignore[attr-defined] # of functions in general
        parameters=[*own, *(each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters)]
    )
    kind = cast("Any", Connection)[of]
    return strawberry.field(resolver=resolve, description=description, graphql_type=kind, metadata=root.metadata)
