"""Calls of the `cohere` library, version 2 of the API."""

import os

import cohere
import conversation as said

client = cohere.ClientV2(api_key="none", base_url=os.environ["PROVIDER"])
TOOL = {"name": said.TOOL_NAME, "description": said.TOOL_DESCRIPTION, "parameters": said.TOOL_PARAMETERS}
SYSTEM = {"role": "system", "content": said.SYSTEM}


def ask(*messages, **options):
    return client.chat(model=said.COHERE_MODEL, messages=[SYSTEM, *messages], **options)


def tools():
    question = {"role": "user", "content": said.WEATHER_QUESTION}
    options = {"tools": [{"type": "function", "function": TOOL}]}
    called = ask(question, **options).message
    calls = [call.model_dump(exclude_none=True) for call in called.tool_calls]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": said.TOOL_RESULT}
    ask(question, {"role": "assistant", "tool_calls": calls, "tool_plan": called.tool_plan}, result, **options)


def documents():
    titled = {"id": "weft", "data": {"title": "Weft", "text": said.DOCUMENTS[0]}}
    ask({"role": "user", "content": said.QUESTION}, documents=[titled, said.DOCUMENTS[1]])


CASES = {
    "chat": lambda: ask({"role": "user", "content": said.QUESTION}),
    "tools": tools,
    "documents": documents,
}
