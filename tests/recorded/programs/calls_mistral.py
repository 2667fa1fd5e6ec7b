"""Calls of the `mistralai` library."""

import os

import conversation as said

try:
    from mistralai import Mistral
except ImportError:  # its third version moved the client
    from mistralai.client import Mistral

client = Mistral(api_key="none", server_url=os.environ["PROVIDER"])
SYSTEM = {"role": "system", "content": said.SYSTEM}
TOOL = {"name": said.TOOL_NAME, "description": said.TOOL_DESCRIPTION, "parameters": said.TOOL_PARAMETERS}


def ask(*messages, **options):
    return client.chat.complete(model=said.MISTRAL_MODEL, messages=[SYSTEM, *messages], **options)


def stream():
    question = {"role": "user", "content": said.QUESTION}
    for _event in client.chat.stream(model=said.MISTRAL_MODEL, messages=[SYSTEM, question]):
        pass


def tools():
    question = {"role": "user", "content": said.WEATHER_QUESTION}
    options = {"tools": [{"type": "function", "function": TOOL}]}
    calls = [call.model_dump() for call in ask(question, **options).choices[0].message.tool_calls]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "name": said.TOOL_NAME, "content": said.TOOL_RESULT}
    ask(question, {"role": "assistant", "content": "", "tool_calls": calls}, result, **options)


CASES = {"chat": lambda: ask({"role": "user", "content": said.QUESTION}), "stream": stream, "tools": tools}
