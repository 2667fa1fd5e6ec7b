"""Specs of actions as tests store them: a test names only what it is about."""

from typing import Any

from stores.objects import ObjectsStore, ObjectVersion
from tests.stores.calls.builders import PROJECT

SCORE = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 10}, "why": {"type": "string"}},
    "required": ["score"],
    "additionalProperties": False,
}


def judging(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 -- any field of the config
    """The config of a judge that gives a score."""
    plain = {"action_type": "llm_judge", "model": "gpt-4o-mini", "prompt": "Judge it.", "response_schema": SCORE}
    return plain | changes


def looking_for(*words: str) -> dict[str, Any]:
    """The config that looks for words."""
    return {"action_type": "contains_words", "target_words": list(words)}


async def action(
    objects: ObjectsStore, config: dict[str, Any], object_id: str = "checker", project_id: str = PROJECT
) -> str:
    """Store a spec; its ref."""
    val = {"name": object_id, "config": config}
    digest = await objects.create(ObjectVersion(project_id, object_id, val, builtin_object_class="ActionSpec"))
    return f"weave:///{project_id}/object/{object_id}:{digest}"
