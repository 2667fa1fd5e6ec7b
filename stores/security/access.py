"""Who asks, and what they may do in which project."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from stores.errors import BadInputError, ForbiddenError
from stores.ids import PROJECT_PART_RULE, is_project_part

EVERY_PROJECT: Final = "*"
ANONYMOUS: Final = "anonymous"
"""The id of whoever asks where nobody has to say who they are."""


class Role(IntEnum):
    """What somebody may do in a project; who may do more may do all that is less."""

    NONE = 0
    READER = 1
    WRITER = 2
    ADMIN = 3

    @classmethod
    def of(cls, name: str) -> Self:
        """The role of a name, as people write it.

        Raises:
            BadInputError: there is no such role.
        """
        names = [role.name.lower() for role in cls if role]
        if name not in names:
            raise BadInputError(f"{name[:64]!r} is no role; there are {', '.join(names)}", "role")
        return cls[name.upper()]

    def __str__(self) -> str:
        """Its name, as people write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """A role in some projects: `entity/project`, `entity/*` or `*`."""

    projects: str
    role: Role

    @classmethod
    def of(cls, projects: str, role: Role) -> Self:
        """A grant of what people wrote.

        Raises:
            BadInputError: it names no projects, or may have been meant for others than it names.
        """
        entity, _, project = projects.partition("/")
        is_project = project == EVERY_PROJECT or _is_plain(project)
        if projects != EVERY_PROJECT and not (_is_plain(entity) and is_project):
            raise BadInputError(
                f"{projects[:64]!r} names no projects; write entity/project, entity/* for all of an entity or * for "
                f"all, each part of {PROJECT_PART_RULE}, without * among others, spaces around it or letters that "
                "Unicode composes",
                "project",
            )
        return cls(projects, role)

    def holds_for(self, project_id: str) -> bool:
        """Whether it is for a project."""
        if self.projects == EVERY_PROJECT:
            return True
        return (
            project_id.startswith(self.projects[:-1]) if self.projects.endswith("/*") else project_id == self.projects
        )


def _is_plain(part: str) -> bool:
    """Whether half of a project id can be meant for nothing else."""
    return is_project_part(part) and EVERY_PROJECT not in part and part == unicodedata.normalize("NFC", part.strip())


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the public id of a key, the subject of a token or `anonymous`, and what they may do where."""

    id: str
    grants: tuple[Grant, ...]
    everywhere: Role = field(init=False, compare=False)
    """The role that they have in every project."""

    def __post_init__(self) -> None:
        """Find once what each request asks first."""
        everywhere = _most(grant.role for grant in self.grants if grant.projects == EVERY_PROJECT)
        object.__setattr__(self, "everywhere", everywhere)

    @property
    def is_anonymous(self) -> bool:
        """Whether it is anybody."""
        return self.id == ANONYMOUS

    def role_in(self, project_id: str) -> Role:
        """The role in a project, whether there is such a project or not."""
        return _most(grant.role for grant in self.grants if grant.holds_for(project_id))

    @property
    def projects(self) -> tuple[str, ...] | None:
        """The projects that they have any role in, as grants name them; None for all."""
        return None if self.everywhere else tuple(grant.projects for grant in self.grants if grant.role)

    def has_role(self, role: Role, project_id: str) -> bool:
        """Whether they have a role in a project, or one that may do more."""
        return self.everywhere >= role or self.role_in(project_id) >= role

    def require_role(self, role: Role, project_id: str, argument: str | None = None) -> None:
        """See that they have a role in a project; nothing is looked up for that.

        Raises:
            ForbiddenError: they have not.
        """
        if not self.has_role(role, project_id):
            raise forbidden_error(role, project_id, argument)

    def check_anywhere(self, role: Role) -> None:
        """Check that the caller has the role in at least one project, before it is known which one they mean.

        Raises:
            ForbiddenError: they have it in none.
        """
        if all(grant.role < role for grant in self.grants):
            raise ForbiddenError(f"this takes the role {role}, which you have in no project")


def forbidden_error(role: Role, project_id: str, argument: str | None = None) -> ForbiddenError:
    """The refusal of who lacks a role in a project, the same whether there is such a project or not."""
    return ForbiddenError(f"this takes the role {role} in {project_id[:260]!r}, which you do not have", argument)


def _most(roles: Iterable[Role]) -> Role:
    return max(roles, default=Role.NONE)


ANONYMOUS_WRITER: Final = Caller(ANONYMOUS, (Grant(EVERY_PROJECT, Role.WRITER),))
"""Whoever asks where there are no keys."""

ANONYMOUS_ADMIN: Final = Caller(ANONYMOUS, (Grant(EVERY_PROJECT, Role.ADMIN),))
"""The same where the server is told to let everybody do what is for administrators."""

NOBODY: Final = Caller(ANONYMOUS, ())
"""Who has not said who they are, where they must."""
