"""An agent of Google's Agent Development Kit."""

import asyncio
import os

import conversation as said
from google.adk.agents import LlmAgent
from google.adk.runners import InMemoryRunner
from google.genai import types

os.environ |= {"GOOGLE_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": os.environ["PROVIDER"]}


def get_temperature(city: str) -> str:
    """Temperature of a city in degrees Celsius."""
    return said.TOOL_RESULT


async def agent():
    built = LlmAgent(name="weather", model=said.GEMINI_MODEL, instruction=said.SYSTEM, tools=[get_temperature])
    runner = InMemoryRunner(built, app_name="recorded")
    await runner.session_service.create_session(app_name="recorded", user_id=said.USER_ID, session_id=said.SESSION_ID)
    message = types.Content(role="user", parts=[types.Part(text=said.WEATHER_QUESTION)])
    async for _event in runner.run_async(user_id=said.USER_ID, session_id=said.SESSION_ID, new_message=message):
        pass


CASES = {"agent": lambda: asyncio.run(agent())}
