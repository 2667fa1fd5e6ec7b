"""Permission check before each root field, and before any lookup."""

from collections.abc import Callable
from typing import Any

from graphql import GraphQLField, GraphQLResolveInfo, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter

from graphql_schema.permissions.field_permissions import FieldPermission, RootPermissions
from graphql_schema.permissions.project_arguments import Arguments
from stores.errors import ForbiddenError
from stores.security.access import Caller, forbidden_error

_Resolve = Callable[..., Any]


def guard_root_fields(schema: GraphQLSchema, permissions: RootPermissions) -> None:
    """Add the permission check to each root field of a schema.

    Raises:
        TypeError: if a field has no permission, or a permission has no field.
    """
    for kind in (schema.query_type, schema.mutation_type, schema.subscription_type):
        if kind is None:
            continue
        root_permissions = permissions[kind.name]
        if differing := kind.fields.keys() ^ root_permissions.keys():
            raise TypeError(
                f"fields of {kind.name} and FIELD_PERMISSIONS differ: {', '.join(sorted(differing))}; name the role of "
                "each root field in graphql_schema/permissions/field_permissions.py"
            )
        attribute = "subscribe" if kind is schema.subscription_type else "resolve"
        for name, definition in kind.fields.items():
            setattr(definition, attribute, _guarded(getattr(definition, attribute), definition, root_permissions[name]))


def _guarded(resolve: _Resolve, definition: GraphQLField, permission: FieldPermission) -> _Resolve:
    role, names = permission.role, _python_names(definition)

    def guarded(source: object, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:  # noqa: ANN401 -- as the field
        caller: Caller = info.context.caller
        if caller.everywhere < role:
            _check(caller, permission, {names[name]: value for name, value in arguments.items()})
        return resolve(source, info, **arguments)

    return guarded


def _python_names(definition: GraphQLField) -> dict[str, str]:
    """Return the Python names of arguments by the names that resolvers receive."""
    backref = GraphQLCoreConverter.DEFINITION_BACKREF
    return {
        argument.out_name or name: argument.extensions[backref].python_name
        for name, argument in definition.args.items()
    }


def _check(caller: Caller, permission: FieldPermission, arguments: Arguments) -> None:
    for project_id, argument in permission.projects.find(arguments):
        if not caller.has_role(permission.role, project_id):
            raise _refusal(caller, permission, arguments, project_id, argument)


def _refusal(
    caller: Caller, permission: FieldPermission, arguments: Arguments, project_id: str, argument: str
) -> ForbiddenError:
    command = permission.command_for(arguments)
    if not (caller.is_anonymous and command):
        return forbidden_error(permission.role, project_id, argument)
    return ForbiddenError(
        f"is for administrators; set LOOMQL_ADMIN=true on the server, for all who reach it, or run `{command}` there"
    )
