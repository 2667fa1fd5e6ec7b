"""Tests of a span's project: Weave's keys in the resource come first, then the request, then the program's name."""

import pytest

from stores.errors import BadInputError
from stores.otel.spans import Projects

WEAVE: dict[str, object] = {"wandb.entity": "acme", "wandb.project": "chat"}


@pytest.mark.parametrize(
    ("projects", "resource", "found"),
    [
        (Projects("you/given"), WEAVE, "acme/chat"),
        (Projects("you/given", fixed=True), WEAVE, "you/given"),
        (Projects("you/given"), {"wandb.entity": "acme"}, "you/given"),
        (Projects("you/given"), {"openinference.project.name": "p", "service.name": "s"}, "you/given"),
        (Projects(), {"openinference.project.name": "p", "service.name": "s"}, "otel/p"),
        (Projects(entity="team"), {"service.name": "s"}, "team/s"),
        (Projects(), {"service.name": "unknown_service:python"}, "otel/unknown_service-python"),
        (Projects(), {"service.name": "acme/chat"}, "acme/chat"),
        (Projects(), {"service.name": "a/b/c"}, "otel/a-b-c"),
        (Projects(), {"service.name": "n" * 200}, f"otel/{'n' * 128}"),
        (Projects(), {"service.name": 5}, "otel/5"),
        (Projects(), {}, "otel/default"),
    ],
)
def test_resource_selects_the_project(projects: Projects, resource: dict[str, object], found: str) -> None:
    assert projects.of(resource) == found


@pytest.mark.parametrize("resource", [WEAVE | {"wandb.project": "a:b"}, {"service.name": ".."}, {"service.name": " "}])
def test_invalid_project_is_refused(resource: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        Projects("you/given" if "wandb.entity" in resource else None).of(resource)
