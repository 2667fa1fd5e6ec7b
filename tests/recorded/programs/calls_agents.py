"""An agent of the OpenAI Agents SDK."""

import asyncio
import os

import conversation as said
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI


@function_tool(name_override=said.TOOL_NAME, description_override=said.TOOL_DESCRIPTION)
def get_temperature(city: str) -> str:
    return said.TOOL_RESULT


def run(kind):
    client = AsyncOpenAI(base_url=f"{os.environ['PROVIDER']}/v1", api_key="sk-none", max_retries=0)
    model = kind(model=said.OPENAI_MODEL, openai_client=client)
    agent = Agent(name="weather", instructions=said.SYSTEM, tools=[get_temperature], model=model)
    asyncio.run(Runner.run(agent, said.WEATHER_QUESTION))


CASES = {
    "agent": lambda: run(OpenAIResponsesModel),
    "agent-chat": lambda: run(OpenAIChatCompletionsModel),
}
