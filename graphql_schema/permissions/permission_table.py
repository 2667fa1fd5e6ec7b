"""Field permissions as rows of a Markdown table."""

from collections.abc import Iterable, Iterator, Mapping

from graphql_schema.permissions.field_permissions import FIELD_PERMISSIONS
from stores.security.access import Role


def lines() -> list[str]:
    """Return the rows of the table: fields, required role, and arguments that name projects."""
    return [
        row
        for root, permissions in FIELD_PERMISSIONS.items()
        for row in grouped(
            root, ((name, permission.role, permission.projects.description) for name, permission in permissions.items())
        )
    ]


def grouped(subject: str, permissions: Iterable[tuple[str, Role, str]]) -> Iterator[str]:
    """Yield the rows of one root type; fields with equal permissions share a row, in the order of roles."""
    alike: dict[tuple[Role, str], list[str]] = {}
    for name, role, projects in permissions:
        alike.setdefault((role, projects), []).append(f"`{name}`")
    for (role, projects), names in _in_order(alike):
        yield f"| {subject}: {', '.join(sorted(names))} | {role} | {projects} |"


def _in_order(alike: Mapping[tuple[Role, str], list[str]]) -> list[tuple[tuple[Role, str], list[str]]]:
    return sorted(alike.items(), key=lambda each: (each[0][0], -len(each[1]), each[0][1]))
