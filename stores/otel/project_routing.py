"""Choice of the project for spans, if one request has spans of several programs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stores.errors import BadInputError
from stores.ids import MAX_PROJECT_PART, PROJECT_PART_RULE, can_start_project_part, check_project_id, is_project_part

ENTITY: Final = "otel"
"""Entity of projects that only a resource's name determines."""

_NAMES: Final = ("openinference.project.name", "service.name")
_NO_NAME: Final = "default"
_REPLACEMENT: Final = "-"


@dataclass(frozen=True, slots=True)
class Projects:
    """Routing rule of one request.

    Attributes:
        given: project in the request, entity/project; None if it names none.
        fixed: true if `given` overrides the spans' resources.
        entity: entity of projects named only by a resource.
        check: raises if the sender may not write to a project.

    Raises:
        BadInputError: the given project id is invalid.
        ForbiddenError: the sender may not write to the given project.
    """

    given: str | None = None
    fixed: bool = False
    entity: str = ENTITY
    check: Callable[[str], None] = lambda _project_id: None

    def __post_init__(self) -> None:
        """Check the given project."""
        if self.given is not None:
            check_project_id(self.given)
            self.check(self.given)

    def of(self, resource: dict[str, object]) -> str:
        """Return the project for spans of a resource, from its attributes.

        `wandb.entity` and `wandb.project` together override the request's project. Without a project in the request,
        `openinference.project.name` or `service.name` names one.

        Raises:
            BadInputError: `wandb.entity` and `wandb.project` are not a valid project id.
            ForbiddenError: the sender may not write there.
        """
        project_id = self._choose(resource)
        self.check(project_id)
        return project_id

    def _choose(self, resource: dict[str, object]) -> str:
        entity, project = resource.get("wandb.entity"), resource.get("wandb.project")
        if entity and project and not self.fixed:
            project_id = f"{entity}/{project}"
            check_project_id(project_id, "wandb.entity and wandb.project")
            return project_id
        return self.given or self._from_name(
            next((str(name) for key in _NAMES if (name := resource.get(key))), _NO_NAME)
        )

    def _from_name(self, name: str) -> str:
        """Return the project for a name, which may be a full id; invalid characters are replaced."""
        entity, slash, rest = name.partition("/")
        if slash and is_project_part(entity) and is_project_part(rest):
            return name
        part = "".join(sign if can_start_project_part(sign) else _REPLACEMENT for sign in name[:MAX_PROJECT_PART])
        if not is_project_part(part):
            raise BadInputError(f"the project name {name[:64]!r} of its resource is invalid; use {PROJECT_PART_RULE}")
        return f"{self.entity}/{part}"
