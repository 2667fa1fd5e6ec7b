"""W&B GraphQL lookups that the Weave SDK makes before it sends traces: the current user and the project.

They have a schema of their own, apart from LoomQL's, with these lookups only. The current user is always `local`.
"""

from pathlib import Path
from typing import Any, Final

import graphql
from graphql import ExecutionResult, GraphQLError

from app.http.errors import reason
from app.weave.messages import Body
from app.weave.request_models import Lookup
from graphql_schema.context import Stores
from graphql_schema.errors import masked_error
from graphql_schema.limits import NoIntrospection, hide_names
from stores.errors import PayloadTooLargeError, StoreError
from stores.ids import LOCAL_USER
from stores.paging import Row
from stores.projects import normalised_id
from stores.security.access import Caller, Role

Info = graphql.GraphQLResolveInfo[None]

_MAX_QUERY_LENGTH: Final = 2_000
"""Limit of a query's characters, twice what the SDK sends. Validation time grows with the square of repeated fields."""

_SCHEMA: Final = graphql.build_schema(Path(__file__).with_name("wandb.graphql").read_text())


async def look_up(stores: Stores, body: Body, *, introspection: bool) -> object:
    """Execute a GraphQL request; without `introspection` neither fields nor errors reveal the schema.

    Raises:
        PayloadTooLargeError: the query is longer than `_MAX_QUERY_LENGTH`.
    """
    parsed = await body.read(Lookup)
    if len(parsed.query) > _MAX_QUERY_LENGTH:
        raise PayloadTooLargeError(f"has {len(parsed.query):,} characters; the limit is {_MAX_QUERY_LENGTH:,}", "query")
    result = await _result(parsed, _root(stores, body.access.caller), () if introspection else (NoIntrospection,))
    if not introspection:
        hide_names(result.errors or ())
    errors = [_formatted(error) for error in result.errors or ()]
    return {"data": result.data, **({"errors": errors} if errors else {})}


async def _result(
    parsed: Lookup, root: dict[str, object], rules: tuple[type[graphql.ASTValidationRule], ...]
) -> ExecutionResult:
    try:
        document = graphql.parse(parsed.query)
    except GraphQLError as error:
        return ExecutionResult(None, [error])
    if errors := graphql.validate(_SCHEMA, document, (*graphql.specified_rules, *rules)):
        return ExecutionResult(None, errors)
    result = graphql.execute(
        _SCHEMA, document, root, variable_values=parsed.variables, operation_name=parsed.operation_name
    )
    return result if isinstance(result, ExecutionResult) else await result


def _formatted(error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    if isinstance(cause, StoreError):
        error = GraphQLError(reason(cause), path=error.path)
    elif cause is not None and not isinstance(cause, GraphQLError):
        error = masked_error(cause, "in a look-up at /weave/graphql")
    return dict(error.formatted)


def _root(stores: Stores, caller: Caller) -> dict[str, object]:
    """Return the values of the fields of queries and mutations, or functions of their arguments."""

    async def project(_info: Info, name: str, entityName: str | None = None) -> Row | None:  # noqa: N803 -- W&B's name
        project_id = f"{entityName or LOCAL_USER}/{name}"
        caller.require_role(Role.READER, project_id)
        found = await stores.projects.one(project_id, ["id", "entity", "name"])
        return None if found is None else _project(found)

    async def upsert_model(_info: Info, input: dict[str, str]) -> Row:  # noqa: A002 -- W&B's name
        entity, name = input.get("entityName") or LOCAL_USER, input.get("name") or ""
        caller.require_role(Role.WRITER, normalised_id(entity, name))
        made = _project(await stores.projects.ensure(entity, name))
        return {"model": made, "project": made, "inserted": True}

    return {
        "project": project,
        "upsertModel": upsert_model,
        "entity": lambda _info, name: _entity(name),
        "viewer": dict.fromkeys(("id", "username", "name", "entity"), LOCAL_USER)
        | {"defaultEntity": _entity(LOCAL_USER)},
        "serverInfo": {"frontendHost": None},
    }


def _entity(name: str) -> Row:
    """Return an entity for any name, because entities exist only as prefixes of projects."""
    return {"id": name, "name": name, "readOnly": False}


def _project(row: Row) -> Row:
    return {"id": row["id"], "name": row["name"], "entityName": row["entity"], "description": None}
