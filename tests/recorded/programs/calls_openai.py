"""Calls of the `openai` library."""

import base64
import os

import conversation as said

if os.environ.get("SENDER") == "langfuse":
    from langfuse.openai import OpenAI
else:
    from openai import OpenAI

client = OpenAI(base_url=f"{os.environ['PROVIDER']}/v1", api_key="sk-none", max_retries=0)
SYSTEM = {"role": "system", "content": said.SYSTEM}
TOOL = {"name": said.TOOL_NAME, "description": said.TOOL_DESCRIPTION, "parameters": said.TOOL_PARAMETERS}
TOOLS = [{"type": "function", "function": TOOL}]
SCHEMA = {"name": "fabric", "schema": said.FABRIC_SCHEMA, "strict": True}


def ask(content, *, model=said.OPENAI_MODEL, system=True, **options):
    user = {"role": "user", "content": content}
    messages = [SYSTEM, user] if system else [user]
    return client.chat.completions.create(model=model, messages=messages, temperature=0, **options)


def stream(content, **options):
    for _chunk in ask(content, stream=True, stream_options={"include_usage": True}, **options):
        pass


def tools():
    question = {"role": "user", "content": said.WEATHER_QUESTION}
    called = ask(said.WEATHER_QUESTION, tools=TOOLS).choices[0].message
    calls = [call.model_dump() for call in called.tool_calls]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": said.TOOL_RESULT}
    client.chat.completions.create(
        model=said.OPENAI_MODEL,
        messages=[SYSTEM, question, {"role": "assistant", "content": None, "tool_calls": calls}, result],
        tools=TOOLS,
    )


def picture(url):
    text = {"type": "text", "text": said.PICTURE_QUESTION}
    ask([text, {"type": "image_url", "image_url": {"url": url}}])


def respond(entries, **options):
    given = {"model": said.OPENAI_MODEL, "instructions": said.SYSTEM} | options
    return client.responses.create(input=entries, **given)


def respond_in_stream():
    for _event in respond(said.QUESTION, stream=True):
        pass


def respond_with_tools():
    tools = [{"type": "function", "strict": True, **TOOL}]
    question = {"role": "user", "content": said.WEATHER_QUESTION}
    [call] = respond([question], tools=tools).output
    result = {"type": "function_call_output", "call_id": call.call_id, "output": said.TOOL_RESULT}
    respond([question, call.model_dump(exclude_none=True), result], tools=tools)


def respond_to_picture():
    text = {"type": "input_text", "text": said.PICTURE_QUESTION}
    respond([{"role": "user", "content": [text, {"type": "input_image", "image_url": said.PIXEL_URL}]}])


def audio():
    text = {"type": "text", "text": said.QUESTION}
    data = base64.b64encode(b"RIFF\x04\x00\x00\x00WAVE").decode()
    ask([text, {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}])


CASES = {
    "chat": lambda: ask(said.QUESTION),
    "stream": lambda: stream(said.QUESTION),
    "tools": tools,
    "tool-stream": lambda: stream(said.WEATHER_QUESTION, tools=TOOLS),
    "image-data": lambda: picture(said.PIXEL_URL),
    "image-url": lambda: picture(said.REMOTE_URL),
    "audio": audio,
    "structured": lambda: ask(said.FABRIC_QUESTION, response_format={"type": "json_schema", "json_schema": SCHEMA}),
    "choices": lambda: ask(said.LOOM_QUESTION, n=2),
    "refusal": lambda: ask(said.SECRET_QUESTION),
    "error-limited": lambda: ask(said.QUESTION, model=said.LIMITED_MODEL),
    "error-broken": lambda: ask(said.QUESTION, model=said.BROKEN_MODEL),
    "embeddings": lambda: client.embeddings.create(
        model=said.EMBEDDING_MODEL, input=said.EMBEDDED_TEXT, encoding_format="float"
    ),
    "responses": lambda: respond(said.QUESTION),
    "responses-stream": respond_in_stream,
    "responses-tools": respond_with_tools,
    "responses-image": respond_to_picture,
    "responses-reasoning": lambda: respond(said.REASONING_QUESTION, reasoning={"effort": "low", "summary": "auto"}),
}
