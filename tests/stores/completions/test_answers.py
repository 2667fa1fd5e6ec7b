"""Tests of models' answers to completion requests that store no call."""

import json
from typing import Any

import pytest

from stores.completions import CompletionsStore
from stores.errors import BadInputError
from tests.stand_in_provider import KEY, StandIn

PROJECT = "acme/support"
HELLO = [{"role": "user", "content": "Hello"}]


async def test_response_is_what_the_provider_sent(completions: CompletionsStore, stand_in: StandIn) -> None:
    answer = await completions.complete(PROJECT, {"model": "openai/small", "messages": HELLO, "temperature": None})

    [request] = stand_in.requests
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "You said: Hello"}
    assert request.path == "/v1/chat/completions"
    assert request.body == {"model": "small", "messages": HELLO}
    assert request.headers["authorization"] == f"Bearer {KEY}"


async def test_every_input_reaches_the_provider(completions: CompletionsStore, stand_in: StandIn) -> None:
    function = {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}}
    given: dict[str, Any] = {
        "messages": HELLO,
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 2,
        "stop": ["."],
        "max_completion_tokens": 100,
        "max_tokens": 90,
        "modalities": ["text"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"50256": -100},
        "user": "ada",
        "response_format": {"type": "text"},
        "seed": 7,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "auto",
        "logprobs": True,
        "top_logprobs": 3,
        "parallel_tool_calls": False,
        "functions": [function],
        "function_call": "none",
    }
    ours = {"timeout": "30", "extra_headers": {"X-Team": "weavers"}, "api_version": "2026-01-01", "stream": False}

    answer = await completions.complete(PROJECT, {"model": "openai/small", **given, **ours})

    [request] = stand_in.requests
    [first, second] = answer["choices"]
    assert request.body == {"model": "small", **given}
    assert request.headers["x-team"] == "weavers"
    assert request.parameters == {"api-version": "2026-01-01"}
    assert json.loads(first["message"]["tool_calls"][0]["function"]["arguments"]) == {"word": "text"}
    assert second["index"] == 1


@pytest.mark.parametrize(
    ("inputs", "argument", "message"),
    [
        ({}, "inputs.model", "is required"),
        ({"model": ""}, "inputs.model", "is required"),
        ({"model": "m" * 1025}, "inputs.model", "has 1,025 characters"),
        ({"messages": "Hello"}, "inputs.messages", "must be a list of messages"),
        ({"messages": ["Hello"]}, "inputs.messages.0", "must be a JSON object"),
        ({"stop": 5}, "inputs.stop", "must be a string or a list"),
        ({"tool_choice": True}, "inputs.tool_choice", "must be a string"),
        ({"response_format": "json"}, "inputs.response_format", "must be a JSON object"),
        ({"timeout": 0}, "inputs.timeout", "seconds above 0"),
        ({"timeout": True}, "inputs.timeout", "seconds above 0"),
        ({"timeout": "nan"}, "inputs.timeout", "seconds above 0"),
        ({"timeout": [1]}, "inputs.timeout", "seconds above 0"),
        ({"timeout": 3601}, "inputs.timeout", "at most 3,600, such as 30"),
        ({"timeout": "1e300"}, "inputs.timeout", "at most 3,600"),
        ({"api_version": "v" * 65}, "inputs.api_version", "at most 64 letters, digits"),
        ({"api_version": "1&key=x"}, "inputs.api_version", "at most 64 letters, digits"),
        ({"api_version": 2026}, "inputs.api_version", "such as 2026-01-01"),
        ({"extra_headers": {"X-Team": 5}}, "inputs.extra_headers", "names to strings"),
        ({"extra_headers": {f"X-{number}": "" for number in range(51)}}, "inputs.extra_headers", "has 51 headers"),
        ({"api_key": "sk-mine"}, "inputs", "'api_key' is not an input"),
    ],
)
async def test_malformed_inputs_are_refused(
    completions: CompletionsStore, stand_in: StandIn, inputs: dict[str, Any], argument: str, message: str
) -> None:
    base = {"model": "openai/small"} if inputs and "model" not in inputs else {}

    with pytest.raises(BadInputError, match=message) as refused:
        await completions.complete(PROJECT, base | inputs)

    assert refused.value.argument == argument
    assert stand_in.requests == []


async def test_invalid_project_id_is_refused(completions: CompletionsStore) -> None:
    with pytest.raises(BadInputError):
        await completions.complete("nowhere", {"model": "openai/small", "messages": HELLO})
