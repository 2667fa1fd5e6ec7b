"""Actions: what can be done with a call at once, and its result kept as feedback."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stores.objects.builtin.base import BaseObject, JsonSchema, Strict


class LlmJudgeActionConfig(Strict):
    """Let a model judge the call; it answers by a JSON Schema."""

    action_type: Literal["llm_judge"] = "llm_judge"
    model: Literal["gpt-4o", "gpt-4o-mini"]
    prompt: str
    response_schema: JsonSchema


class ContainsWordsActionConfig(Strict):
    """Look for words in the call's output."""

    action_type: Literal["contains_words"] = "contains_words"
    target_words: list[str]


class ActionSpec(BaseObject):
    """An action and how it is done."""

    name: str | None = Field(default=None, validate_default=True)
    config: Annotated[LlmJudgeActionConfig | ContainsWordsActionConfig, Field(discriminator="action_type")]

    @field_validator("name", mode="after")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is None:
            raise ValueError("an action has a name")
        return name
