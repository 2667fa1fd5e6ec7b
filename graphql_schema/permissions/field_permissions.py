"""Permissions of root fields: the role that each requires, and the projects.

A schema with a root field that has no permission cannot be built (`guard.guard_root_fields`). The page
`app/docs/reference/permissions.md` is generated from this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from graphql_schema.permissions import project_arguments
from graphql_schema.permissions.project_arguments import Given, ProjectArgument
from stores.security.access import Role


@dataclass(frozen=True, slots=True)
class FieldPermission:
    """The role that a field takes in each project that its arguments name; `command` does the same on the server."""

    role: Role
    place: ProjectArgument = project_arguments.PROJECT_ID
    command: str | None = None

    def command_for(self, given: Given) -> str | None:
        """The command that does the same as a field with some arguments."""
        return self.command and self.command.format(**given, on_or_off="on" if given.get("is_on") else "off")


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

Rulings = Mapping[str, Mapping[str, FieldPermission]]

FIELD_PERMISSIONS: Final[Rulings] = {"Query": _QUERIES, "Mutation": _MUTATIONS, "Subscription": _SUBSCRIPTIONS}
"""By the name of a root, the rulings of its fields."""
