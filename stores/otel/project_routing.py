"""Which project spans are stored in, where one request brings those of several programs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stores.errors import BadInputError
from stores.ids import MAX_PROJECT_PART, PROJECT_PART_RULE, check_project_id, is_in_project_part, is_project_part

ENTITY: Final = "otel"
"""Who owns the projects of programs that name none themselves."""

_NAMES: Final = ("openinference.project.name", "service.name")
_NO_NAME: Final = "default"
_REPLACEMENT: Final = "-"


@dataclass(frozen=True, slots=True)
class Projects:
    """The rule of one request.

    Attributes:
        given: the project that the request names, entity/project; None where it names none.
        fixed: whether it stands above what the spans' resources say.
        entity: whose projects those are that only a resource names.
        check: sees that the sender may store something in a project, or raises what is told of its spans.
    """

    given: str | None = None
    fixed: bool = False
    entity: str = ENTITY
    check: Callable[[str], None] | None = None

    def of(self, resource: dict[str, object]) -> str:
        """The project of the spans of a resource, given by its attributes.

        `wandb.entity` and `wandb.project` together stand above the request's own project; where there is none,
        `openinference.project.name` and `service.name` name one.

        Raises:
            BadInputError: `wandb.entity` and `wandb.project` make no project id.
            ForbiddenError: the sender may store nothing there.
        """
        found = self._of(resource)
        if self.check:
            self.check(found)
        return found

    def _of(self, resource: dict[str, object]) -> str:
        entity, project = resource.get("wandb.entity"), resource.get("wandb.project")
        if entity and project and not self.fixed:
            found = f"{entity}/{project}"
            check_project_id(found, "wandb.entity and wandb.project")
            return found
        return self.given or self._named(next((str(name) for key in _NAMES if (name := resource.get(key))), _NO_NAME))

    def _named(self, name: str) -> str:
        """The project of a name, which may be a whole id; signs that no id holds are replaced."""
        entity, slash, rest = name.partition("/")
        if slash and is_project_part(entity) and is_project_part(rest):
            return name
        part = "".join(sign if is_in_project_part(sign) else _REPLACEMENT for sign in name[:MAX_PROJECT_PART])
        if not is_project_part(part):
            raise BadInputError(f"the project name {name[:64]!r} of its resource is none; use {PROJECT_PART_RULE}")
        return f"{self.entity}/{part}"
