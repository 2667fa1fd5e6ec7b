"""Required role of each root field, and the arguments that name its projects.

`guard_root_fields` rejects a schema with a root field that is missing here. The page
`app/docs/reference/permissions.md` is generated from this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from graphql_schema.permissions import project_arguments
from graphql_schema.permissions.project_arguments import Arguments, ProjectArgument
from stores.security.access import Role


@dataclass(frozen=True, slots=True)
class FieldPermission:
    """Role that a field requires in each project named by its arguments; `command` is the equivalent CLI command."""

    role: Role
    projects: ProjectArgument = project_arguments.PROJECT_ID
    command: str | None = None

    def command_for(self, arguments: Arguments) -> str | None:
        """Return the CLI command that is equivalent to the field with some arguments; None if there is none."""
        return self.command and self.command.format(**arguments, on_or_off="on" if arguments.get("is_on") else "off")


_READER: Final = FieldPermission(Role.READER)
_WRITER: Final = FieldPermission(Role.WRITER)

_QUERIES: Final = {
    "node": FieldPermission(Role.READER, project_arguments.ID),
    "nodes": FieldPermission(Role.READER, project_arguments.IDS),
    "refs": FieldPermission(Role.READER, project_arguments.REFS),
    "projects": FieldPermission(Role.READER, project_arguments.OWN),
    **dict.fromkeys(
        (
            "call",
            "calls",
            "callEventsCursor",
            "callsAggregate",
            "callsStats",
            "costs",
            "evaluationCompare",
            "evaluationResults",
            "evaluationRun",
            "evaluationStatus",
            "explain",
            "feedback",
            "feedbackStats",
            "file",
            "filesStats",
            "lastPurge",
            "obj",
            "objs",
            "op",
            "ops",
            "project",
            "projectStats",
            "retention",
            "retentionPreview",
            "search",
            "searchIndex",
            "tableRows",
            "tableStats",
            "tablesStats",
            "threads",
            "trace",
            "usageTree",
        ),
        _READER,
    ),
}

_MUTATIONS: Final = {
    "callCreate": FieldPermission(Role.WRITER, project_arguments.CALL),
    "callCreateBatch": FieldPermission(Role.WRITER, project_arguments.BATCH_OF_CALLS),
    "callEnd": FieldPermission(Role.WRITER, project_arguments.END),
    "callStart": FieldPermission(Role.WRITER, project_arguments.START),
    "ensureProjectExists": FieldPermission(Role.WRITER, project_arguments.ENTITY_AND_PROJECT),
    "feedbackCreateBatch": FieldPermission(Role.WRITER, project_arguments.BATCH_OF_FEEDBACK),
    "objCreate": FieldPermission(Role.WRITER, project_arguments.OBJ),
    "opCreate": FieldPermission(Role.WRITER, project_arguments.OP_OBJ),
    "tableCreate": FieldPermission(Role.WRITER, project_arguments.TABLE),
    **dict.fromkeys(
        (
            "actionsExecuteBatch",
            "callUpdate",
            "callsDelete",
            "completionsCreate",
            "costCreate",
            "costPurge",
            "evaluateModel",
            "evaluationCancel",
            "feedbackCreate",
            "feedbackPurge",
            "feedbackReplace",
            "fileCreate",
            "imageCreate",
            "objDelete",
            "opDelete",
            "otelExport",
            "tableCreateFromDigests",
            "tableUpdate",
        ),
        _WRITER,
    ),
    "projectPurge": FieldPermission(Role.ADMIN, command="loomql project purge {project_id}"),
    "retentionSet": FieldPermission(Role.ADMIN, command="loomql retention set {project_id}"),
    "retentionSweep": FieldPermission(Role.ADMIN, command="loomql retention sweep {project_id}"),
    "searchIndexSet": FieldPermission(Role.ADMIN, command="loomql search {on_or_off} {project_id}"),
}

_SUBSCRIPTIONS: Final = {
    "callEvents": _READER,
    "completionsCreateStream": _WRITER,
    "evaluationProgress": _READER,
}

RootPermissions = Mapping[str, Mapping[str, FieldPermission]]

FIELD_PERMISSIONS: Final[RootPermissions] = {"Query": _QUERIES, "Mutation": _MUTATIONS, "Subscription": _SUBSCRIPTIONS}
"""Permissions by the name of the root type and of the field."""
