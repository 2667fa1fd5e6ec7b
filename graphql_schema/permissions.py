"""Permissions: the role that each root field requires in the projects of its arguments, checked before its resolver.

The page `app/docs/reference/permissions.md` is generated from `FIELD_PERMISSIONS`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLField, GraphQLResolveInfo, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.utils.str_converters import to_camel_case

from stores import refs
from stores.errors import BadInputError, ForbiddenError
from stores.projects import normalised_id
from stores.security.access import Caller, Role, forbidden_error

Arguments = Mapping[str, Any]
"""Arguments of a field by their Python names."""

NamedProject = tuple[str, str]
"""A project id, and the path of the argument that names it."""


@dataclass(frozen=True, slots=True)
class ProjectArgument:
    """Extraction of project ids from arguments, and a description of these arguments for the permission table."""

    description: str
    find: Callable[[Arguments], Iterable[NamedProject]]


def _at(path: str, description: str = "", project_of: Callable[[str], str] = str) -> ProjectArgument:
    """Return the projects that the texts at a path name; `project_of` converts such a text to the id.

    A list stands for each of its items, and a step `start|end` for the first of the two fields that is set.
    """

    def find(arguments: Arguments) -> Iterator[NamedProject]:
        for text, argument in _texts(arguments, path.split("."), ()):
            yield from _named_by(argument, project_of, text)

    return ProjectArgument(description or f"`{'.'.join(map(to_camel_case, path.split('.')))}`", find)


def _texts(value: object, steps: list[str], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the texts at the remaining steps below a value, with their paths."""
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _texts(item, steps, (*path, str(position)))
    elif not steps:
        yield str(value), ".".join(path)
    else:
        fields: Mapping[str, Any] = value if isinstance(value, Mapping) else vars(value)
        names = steps[0].split("|")
        name = next((each for each in names if fields[each]), names[-1])
        yield from _texts(fields[name], steps[1:], (*path, name))


def _named_by(argument: str, project_of: Callable[..., str], *texts: str) -> Iterator[NamedProject]:
    """Yield the project that some texts name; their field rejects invalid texts without a lookup."""
    try:
        yield project_of(*texts), argument
    except BadInputError:
        return


def _of_entity(text: str) -> str:
    return refs.parse_entity(text).project_id


_PROJECT_ID: Final = _at("project_id")
_ENTITY_AND_PROJECT: Final = ProjectArgument(
    "`entity` and `project`",
    lambda arguments: _named_by("project", normalised_id, arguments["entity"], arguments["project"]),
)
_OWN: Final = ProjectArgument("only projects where the caller has the role", lambda _arguments: ())
_EACH_OF_BATCH: Final = "`projectId` of each item of `batch`"


@dataclass(frozen=True, slots=True)
class FieldPermission:
    """Role that a field requires in each project named by its arguments; `command` is the equivalent CLI command."""

    role: Role
    projects: ProjectArgument = _PROJECT_ID
    command: str | None = None


def _need(role: Role, names: str) -> dict[str, FieldPermission]:
    """Return permissions of the fields `names` with the argument `projectId`."""
    return dict.fromkeys(names.split(), FieldPermission(role))


_QUERIES: Final = {
    "node": FieldPermission(Role.READER, _at("id", "ref in `id`", _of_entity)),
    "nodes": FieldPermission(Role.READER, _at("ids", "each ref in `ids`", _of_entity)),
    "refs": FieldPermission(Role.READER, _at("refs", "each ref in `refs`", lambda text: refs.parse(text).project_id)),
    "projects": FieldPermission(Role.READER, _OWN),
    "role": FieldPermission(Role.NONE),
    **_need(
        Role.READER,
        """
        call calls callEventsCursor callsAggregate callsFacets callsPaths callsStats costs explain explainThreads
        explainTraces feedback feedbackStats search searchIndex evaluationCompare evaluationResults evaluationRun
        evaluationRuns evaluationStatus file filesStats obj objs op ops
        project projectStats lastPurge retention retentionPreview tableRows tableStats tablesStats
        thread threads trace traces usageTree
        """,
    ),
}
_MUTATIONS: Final = {
    "callCreate": FieldPermission(Role.WRITER, _at("call.project_id")),
    "callCreateBatch": FieldPermission(Role.WRITER, _at("batch.start|end.project_id", _EACH_OF_BATCH)),
    "callEnd": FieldPermission(Role.WRITER, _at("end.project_id")),
    "callStart": FieldPermission(Role.WRITER, _at("start.project_id")),
    "ensureProjectExists": FieldPermission(Role.WRITER, _ENTITY_AND_PROJECT),
    "feedbackCreateBatch": FieldPermission(Role.WRITER, _at("batch.project_id", _EACH_OF_BATCH)),
    "objCreate": FieldPermission(Role.WRITER, _at("obj.project_id")),
    "opCreate": FieldPermission(Role.WRITER, _at("op_obj.project_id")),
    "tableCreate": FieldPermission(Role.WRITER, _at("table.project_id")),
    **_need(
        Role.WRITER,
        """
        actionsExecuteBatch callUpdate callsDelete completionsCreate costCreate costPurge evaluateModel
        evaluationCancel feedbackCreate feedbackPurge feedbackReplace fileCreate imageCreate objDelete opDelete
        otelExport tableCreateFromDigests tableUpdate
        """,
    ),
    "projectPurge": FieldPermission(Role.ADMIN, command="loomql project purge {project_id}"),
    "retentionSet": FieldPermission(Role.ADMIN, command="loomql retention set {project_id}"),
    "retentionSweep": FieldPermission(Role.ADMIN, command="loomql retention sweep {project_id}"),
    "searchIndexSet": FieldPermission(Role.ADMIN, command="loomql search {on_or_off} {project_id}"),
}

RootPermissions = Mapping[str, Mapping[str, FieldPermission]]

FIELD_PERMISSIONS: Final[RootPermissions] = {
    "Query": _QUERIES,
    "Mutation": _MUTATIONS,
    "Subscription": {
        **_need(Role.READER, "callEvents evaluationProgress"),
        **_need(Role.WRITER, "completionsCreateStream"),
    },
}
"""Permissions by the name of the root type and of the field; `guard_root_fields` rejects a schema with other fields."""


def guard_root_fields(schema: GraphQLSchema, permissions: RootPermissions) -> None:
    """Add the permission check to each root field of a schema.

    Raises:
        TypeError: if a field has no permission, or a permission has no field.
    """
    for kind in filter(None, (schema.query_type, schema.mutation_type, schema.subscription_type)):
        root_permissions = permissions[kind.name]
        if differing := kind.fields.keys() ^ root_permissions.keys():
            raise TypeError(
                f"fields of {kind.name} and FIELD_PERMISSIONS differ: {', '.join(sorted(differing))}; name the role of "
                "each root field in graphql_schema/permissions.py"
            )
        attribute = "subscribe" if kind is schema.subscription_type else "resolve"
        for name, definition in kind.fields.items():
            setattr(definition, attribute, _guarded(getattr(definition, attribute), definition, root_permissions[name]))


def _guarded(resolve: Callable[..., Any], definition: GraphQLField, permission: FieldPermission) -> Callable[..., Any]:
    backref = GraphQLCoreConverter.DEFINITION_BACKREF
    names = {
        argument.out_name or name: argument.extensions[backref].python_name
        for name, argument in definition.args.items()
    }

    def guarded(source: object, info: GraphQLResolveInfo[Any], **arguments: Any) -> object:
        caller: Caller = info.context.caller
        if caller.everywhere < permission.role:
            _check(caller, permission, {names[name]: value for name, value in arguments.items()})
        return resolve(source, info, **arguments)

    return guarded


def _check(caller: Caller, permission: FieldPermission, arguments: Arguments) -> None:
    for project_id, argument in permission.projects.find(arguments):
        if caller.has_role(permission.role, project_id):
            continue
        if not (caller.is_anonymous and permission.command):
            raise forbidden_error(permission.role, project_id, argument)
        command = permission.command.format(**arguments, on_or_off="on" if arguments.get("is_on") else "off")
        raise ForbiddenError(
            "is for administrators; set LOOMQL_ADMIN=true on the server, for all who reach it, or run "
            f"`{command}` there"
        )
