"""Callers and their roles in projects."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from stores.errors import BadInputError, ForbiddenError
from stores.ids import PROJECT_PART_RULE, is_project_part

EVERY_PROJECT: Final = "*"
ANONYMOUS: Final = "anonymous"
"""The caller id of requests without credentials on a server that requires none."""


class Role(IntEnum):
    """Role of a caller in a project; each role includes the lower ones."""

    NONE = 0
    """No access to the project."""
    READER = 1
    """Right to read the data of the project."""
    WRITER = 2
    """Right to write and delete data of the project, too."""
    ADMIN = 3
    """Right to purge the project, and to set its retention rule and search index, too."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Parse a role from its lowercase name.

        Raises:
            BadInputError: if there is no such role.
        """
        names = [role.name.lower() for role in cls if role]
        if name not in names:
            raise BadInputError(f"{name[:64]!r} is not a role; use one of {', '.join(names)}", "role")
        return cls[name.upper()]

    def __str__(self) -> str:
        """Return the lowercase name."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """A role in some projects: `entity/project`, `entity/*` or `*`."""

    projects: str
    role: Role

    @classmethod
    def parse(cls, projects: str, role: Role) -> Self:
        """Validate the projects and create a grant.

        Raises:
            BadInputError: if the text names no projects, or could be read as naming others.
        """
        entity, _, project = projects.partition("/")
        is_project = project == EVERY_PROJECT or _is_plain(project)
        if projects != EVERY_PROJECT and not (_is_plain(entity) and is_project):
            raise BadInputError(
                f"{projects[:64]!r} does not name projects; write entity/project, entity/* for all projects of an "
                f"entity, or * for all; each half has {PROJECT_PART_RULE}; write no other *, no outer spaces, and "
                "letters in Unicode's composed form (NFC)",
                "project",
            )
        return cls(projects, role)

    def covers(self, project_id: str) -> bool:
        """True if the grant covers a project."""
        if self.projects == EVERY_PROJECT:
            return True
        return (
            project_id.startswith(self.projects[:-1]) if self.projects.endswith("/*") else project_id == self.projects
        )


def _is_plain(part: str) -> bool:
    """True if half of a project id is unambiguous: no `*`, outer spaces or decomposed letters."""
    return is_project_part(part) and EVERY_PROJECT not in part and part == unicodedata.normalize("NFC", part.strip())


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request: a key's public id, a token's subject or `anonymous`, with its grants."""

    id: str
    grants: tuple[Grant, ...]
    everywhere: Role = field(init=False, compare=False)
    """The role that applies in every project."""
    is_anonymous: bool = field(init=False, compare=False)
    """True if the caller has no identity."""

    def __post_init__(self) -> None:
        """Compute once what each request checks first."""
        everywhere = _highest(grant.role for grant in self.grants if grant.projects == EVERY_PROJECT)
        object.__setattr__(self, "everywhere", everywhere)
        object.__setattr__(self, "is_anonymous", self.id == ANONYMOUS)

    def role_in(self, project_id: str) -> Role:
        """Return the role in a project, which need not exist."""
        return _highest(grant.role for grant in self.grants if grant.covers(project_id))

    @property
    def projects(self) -> tuple[str, ...] | None:
        """The projects with any role, as the grants name them; None for all."""
        return None if self.everywhere else tuple(grant.projects for grant in self.grants if grant.role)

    def has_role(self, role: Role, project_id: str) -> bool:
        """True if the caller has the role, or a higher one, in a project."""
        return self.everywhere >= role or self.role_in(project_id) >= role

    def require_role(self, role: Role, project_id: str, argument: str | None = None) -> None:
        """Check that the caller has a role in a project; this needs no database access.

        Raises:
            ForbiddenError: if it does not.
        """
        if not self.has_role(role, project_id):
            raise forbidden_error(role, project_id, argument)

    def check_anywhere(self, role: Role) -> None:
        """Check that the caller has the role in at least one project, before the project is known.

        Raises:
            ForbiddenError: if it has the role in none.
        """
        if all(grant.role < role for grant in self.grants):
            raise ForbiddenError(f"you need the role {role} in at least one project; ask an administrator for it")


def forbidden_error(role: Role, project_id: str, argument: str | None = None) -> ForbiddenError:
    """Create the error for a missing role; it is equal for missing projects, so it does not reveal them."""
    return ForbiddenError(f"you need the role {role} in {project_id[:260]!r}; ask an administrator for it", argument)


def _highest(roles: Iterable[Role]) -> Role:
    return max(roles, default=Role.NONE)


ANONYMOUS_WRITER: Final = Caller(ANONYMOUS, (Grant(EVERY_PROJECT, Role.WRITER),))
"""The caller of requests on a server without keys."""

ANONYMOUS_ADMIN: Final = Caller(ANONYMOUS, (Grant(EVERY_PROJECT, Role.ADMIN),))
"""The caller of requests on a server that is configured to let everybody administrate."""

NOBODY: Final = Caller(ANONYMOUS, ())
"""The caller of a request without credentials on a server that requires them."""
