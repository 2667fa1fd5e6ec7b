"""Actions that the server executes on a call, storing the result as feedback."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stores.objects.builtin.base import BaseObject, JsonSchema, Strict


class LlmJudgeActionConfig(Strict):
    """Let a model judge the call; its response follows a JSON Schema."""

    action_type: Literal["llm_judge"] = "llm_judge"
    model: Literal["gpt-4o", "gpt-4o-mini"]
    prompt: str
    response_schema: JsonSchema


class ContainsWordsActionConfig(Strict):
    """Search the call's output for words."""

    action_type: Literal["contains_words"] = "contains_words"
    target_words: list[str]


class ActionSpec(BaseObject):
    """An action and its configuration."""

    name: str | None = Field(default=None, validate_default=True)
    config: Annotated[LlmJudgeActionConfig | ContainsWordsActionConfig, Field(discriminator="action_type")]

    @field_validator("name", mode="after")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is None:
            raise ValueError("an action needs a name")
        return name
