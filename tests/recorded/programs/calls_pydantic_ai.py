"""Agents of pydantic-ai."""

import os

import conversation as said
from pydantic import BaseModel
from pydantic_ai import Agent, ImageUrl
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(
    said.OPENAI_MODEL, provider=OpenAIProvider(base_url=f"{os.environ['PROVIDER']}/v1", api_key="sk-none")
)


class Fabric(BaseModel):
    name: str
    threads: int


def agent(**options):
    return Agent(model, name="weaver", system_prompt=said.SYSTEM, **options)


def with_tool():
    built = agent()

    @built.tool_plain(name=said.TOOL_NAME, description=said.TOOL_DESCRIPTION)
    def get_temperature(city: str) -> str:
        return said.TOOL_RESULT

    built.run_sync(said.WEATHER_QUESTION)


def anthropic_reasoning():
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    provider = AnthropicProvider(base_url=os.environ["PROVIDER"], api_key="sk-none")
    thinking = {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}}
    built = Agent(AnthropicModel(said.ANTHROPIC_MODEL, provider=provider), instructions=said.SYSTEM)
    built.run_sync(said.REASONING_QUESTION, model_settings=thinking)


CASES = {
    "chat": lambda: agent().run_sync(said.QUESTION),
    "agent": with_tool,
    "image-url": lambda: agent().run_sync([said.PICTURE_QUESTION, ImageUrl(url=said.REMOTE_URL)]),
    "reasoning": anthropic_reasoning,
}
