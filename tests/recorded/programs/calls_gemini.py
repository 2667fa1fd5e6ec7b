"""Calls of the `google-genai` library."""

import os

import conversation as said
from google import genai
from google.genai import types

client = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=os.environ["PROVIDER"]))
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name=said.TOOL_NAME,
            description=said.TOOL_DESCRIPTION,
            parameters=types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]),
        )
    ]
)


def config(**options):
    return types.GenerateContentConfig(system_instruction=said.SYSTEM, **options)


def ask(contents, **options):
    return client.models.generate_content(model=said.GEMINI_MODEL, contents=contents, config=config(**options))


def stream():
    for _chunk in client.models.generate_content_stream(
        model=said.GEMINI_MODEL, contents=said.QUESTION, config=config()
    ):
        pass


def tools():
    question = types.Content(role="user", parts=[types.Part(text=said.WEATHER_QUESTION)])
    called = ask([question], tools=[TOOL]).candidates[0].content
    result = types.Part.from_function_response(name=said.TOOL_NAME, response={"result": said.TOOL_RESULT})
    ask([question, called, types.Content(role="user", parts=[result])], tools=[TOOL])


CASES = {
    "chat": lambda: ask(said.QUESTION),
    "stream": stream,
    "tools": tools,
    "image-data": lambda: ask([types.Part.from_bytes(data=said.PIXEL, mime_type="image/png"), said.PICTURE_QUESTION]),
    "reasoning": lambda: ask(said.REASONING_QUESTION, thinking_config=types.ThinkingConfig(include_thoughts=True)),
}
