"""A tool-calling agent of smolagents."""

import os

import conversation as said
from smolagents import OpenAIServerModel, ToolCallingAgent, tool


@tool
def get_temperature(city: str) -> str:
    """Temperature of a city in degrees Celsius.

    Args:
        city: The city.
    """
    return said.TOOL_RESULT


def agent():
    model = OpenAIServerModel(said.OPENAI_MODEL, api_base=f"{os.environ['PROVIDER']}/v1", api_key="sk-none")
    ToolCallingAgent([get_temperature], model, max_steps=2, verbosity_level=0).run(said.WEATHER_QUESTION)


CASES = {"agent": agent}
