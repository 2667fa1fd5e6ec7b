"""Calls of the `anthropic` library."""

import base64
import os

import conversation as said
from anthropic import Anthropic

client = Anthropic(base_url=os.environ["PROVIDER"], api_key="sk-none", max_retries=0)
TOOLS = [{"name": said.TOOL_NAME, "description": said.TOOL_DESCRIPTION, "input_schema": said.TOOL_PARAMETERS}]


def ask(content, **options):
    given = {"model": said.ANTHROPIC_MODEL, "max_tokens": 2048, "system": said.SYSTEM} | options
    return client.messages.create(messages=[{"role": "user", "content": content}], **given)


def stream(content, **options):
    for _event in ask(content, stream=True, **options):
        pass


def tools():
    called = ask(said.WEATHER_QUESTION, tools=TOOLS).content
    result = {"type": "tool_result", "tool_use_id": called[0].id, "content": said.TOOL_RESULT}
    client.messages.create(
        model=said.ANTHROPIC_MODEL,
        max_tokens=2048,
        system=said.SYSTEM,
        tools=TOOLS,
        messages=[
            {"role": "user", "content": said.WEATHER_QUESTION},
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in called]},
            {"role": "user", "content": [result]},
        ],
    )


def picture():
    data = base64.b64encode(said.PIXEL).decode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    ask([image, {"type": "text", "text": said.PICTURE_QUESTION}])


THINKING = {"type": "enabled", "budget_tokens": 1024}
CASES = {
    "chat": lambda: ask(said.QUESTION),
    "stream": lambda: stream(said.QUESTION),
    "tools": tools,
    "image-data": picture,
    "reasoning": lambda: ask(said.REASONING_QUESTION, thinking=THINKING),
    "reasoning-stream": lambda: stream(said.REASONING_QUESTION, thinking=THINKING),
    "error-limited": lambda: ask(said.QUESTION, model=said.LIMITED_MODEL),
}
