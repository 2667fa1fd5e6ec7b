"""Builders of action specs with defaults: a test names only the fields that it checks."""

from typing import Any

from stores.objects import ObjectsStore, ObjectVersion
from tests.stores.calls.builders import PROJECT

SCORE = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 10}, "why": {"type": "string"}},
    "required": ["score"],
    "additionalProperties": False,
}


def judging(**changes: Any) -> dict[str, Any]:
    """Return the config of a judge that gives a score."""
    plain = {"action_type": "llm_judge", "model": "gpt-4o-mini", "prompt": "Judge it.", "response_schema": SCORE}
    return plain | changes


def looking_for(*words: str) -> dict[str, Any]:
    """Return the config of an action that looks for words."""
    return {"action_type": "contains_words", "target_words": list(words)}


async def action(
    objects: ObjectsStore, config: dict[str, Any], object_id: str = "checker", project_id: str = PROJECT
) -> str:
    """Store an action spec and return its ref."""
    val = {"name": object_id, "config": config}
    digest = await objects.create(ObjectVersion(project_id, object_id, val, builtin_object_class="ActionSpec"))
    return f"weave:///{project_id}/object/{object_id}:{digest}"
