"""Completions in the API: whole and streamed."""

from contextlib import aclosing
from typing import Any

import pytest

from graphql_schema.context import Stores
from stores.costs import NewCost
from stores.database import Database
from tests.graphql_schema.completions.conftest import Ask, Follow
from tests.stand_in_provider import USAGE, StandIn
from tests.waiting import until

PROJECT = "acme/support"
HELLO = [{"role": "user", "content": "Hello"}]
CREATE = """
mutation ($inputs: CompletionsCreateRequestInputs!, $track: Boolean) {
  completionsCreate(projectId: "acme/support", inputs: $inputs, trackLlmCall: $track, wbUserId: "ada") {
    response
    weaveCallId
    call {
      id opName status wbUserId exception usage { model totalTokens } totalCost inputs
      answer: output(path: "choices.0")
    }
  }
}
"""
STREAM = """
subscription ($inputs: CompletionsCreateRequestInputs!) {
  completionsCreateStream(projectId: "acme/support", inputs: $inputs) {
    type weaveCallId text chunk response call { id status output }
  }
}
"""


async def test_completion_has_its_call_with_usage_and_costs(ask: Ask, stores: Stores) -> None:
    await stores.costs.create(PROJECT, [NewCost("gpt-4o", 0.5, 1.0)])

    answer = await ask(CREATE, inputs={"model": "gpt-4o", "messages": HELLO, "temperature": 0})

    created = answer.data["completionsCreate"]
    call = created["call"]
    assert answer.errors == []
    assert created["response"]["choices"][0]["message"]["content"] == "You said: Hello"
    assert (call["id"], call["opName"]) == (created["weaveCallId"], "weave.completions_create")
    assert (call["status"], call["wbUserId"], call["exception"]) == ("SUCCESS", "ada", None)
    assert call["usage"] == [{"model": "gpt-4o", "totalTokens": 18}]
    assert call["totalCost"] == 11 * 0.5 + 7 * 1.0
    assert call["inputs"] == {"model": "gpt-4o", "messages": HELLO, "temperature": 0}
    assert call["answer"] == created["response"]["choices"][0]


@pytest.mark.parametrize(("track", "is_kept"), [(True, True), (None, True), (False, False)])
async def test_completion_is_stored_unless_tracking_is_off(
    ask: Ask, database: Database, *, track: bool | None, is_kept: bool
) -> None:
    answer = await ask(CREATE, inputs={"model": "gpt-4o"}, track=track)

    created = answer.data["completionsCreate"]
    assert (created["weaveCallId"] is not None, created["call"] is not None) == (is_kept, is_kept)
    assert "choices" in created["response"]
    assert await database.calls.count_documents({}) == is_kept


async def test_every_input_of_the_api_reaches_the_provider(ask: Ask, stand_in: StandIn) -> None:
    inputs: dict[str, Any] = {
        "messages": HELLO,
        "topP": 0.9,
        "n": 2,
        "stop": ["."],
        "maxCompletionTokens": 100,
        "maxTokens": 90,
        "modalities": ["text"],
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "logitBias": {"50256": -100},
        "user": "ada",
        "responseFormat": {"type": "json_object"},
        "seed": 2**40,
        "toolChoice": "auto",
        "logprobs": True,
        "topLogprobs": 3,
        "parallelToolCalls": False,
        "functions": [{"name": "look_up"}],
        "functionCall": "none",
    }
    ours = {"model": "gpt-4o", "timeout": 30, "extraHeaders": {"X-Team": "weavers"}, "apiVersion": "1", "tools": None}

    answer = await ask(CREATE, inputs={**inputs, **ours})

    [request] = stand_in.requests
    assert answer.errors == []
    assert request.body.keys() == {"model", *map(_snake, inputs)}
    assert request.body["logit_bias"] == {"50256": -100}
    assert request.body["seed"] == 2**40
    assert request.headers["x-team"] == "weavers"
    assert answer.data["completionsCreate"]["call"]["inputs"].keys() == {
        "model",
        "timeout",
        "api_version",
        *map(_snake, inputs),
    }


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


async def test_provider_error_is_in_the_response(ask: Ask) -> None:
    answer = await ask(CREATE, inputs={"model": "status-401", "messages": HELLO})

    created = answer.data["completionsCreate"]
    assert answer.errors == []
    assert created["response"]["error"].startswith("openai (model status-401) answered 401, it refuses the key; check")
    assert (created["call"]["status"], created["call"]["exception"]) == ("ERROR", created["response"]["error"])


@pytest.mark.parametrize(
    ("inputs", "code", "argument"),
    [
        ({"model": "gpt-4o", "toolChoice": 5}, "BAD_USER_INPUT", "inputs.toolChoice"),
        ({"model": "gpt-4o", "messages": [HELLO]}, "BAD_USER_INPUT", "inputs.messages.0"),
        ({"model": "gpt-4o", "stream": True}, "BAD_USER_INPUT", "inputs.stream"),
        ({"model": "gpt-4o", "user": "x" * 10_000_000}, "PAYLOAD_TOO_LARGE", "inputs"),
        ({"model": "gpt-4o", "user": "weave-trace-internal:///x"}, "BAD_USER_INPUT", "inputs"),
    ],
)
async def test_invalid_inputs_are_named(
    ask: Ask, stand_in: StandIn, inputs: dict[str, Any], code: str, argument: str
) -> None:
    answer = await ask(CREATE, inputs=inputs)

    assert answer.data == {"completionsCreate": None}
    assert answer.code == code
    assert answer.errors[0]["extensions"]["argument"] == argument
    assert stand_in.requests == []


async def test_stream_has_the_call_then_chunks_then_the_response(follow: Follow) -> None:
    events = [
        answer.data["completionsCreateStream"]
        async for answer in follow(STREAM, inputs={"model": "gpt-4o", "messages": HELLO})
    ]

    started, *chunks, finished = events
    nothing = {"text": None, "chunk": None, "response": None, "call": None}
    assert started == {"type": "STARTED", "weaveCallId": finished["call"]["id"], **nothing}
    assert {event["type"] for event in chunks} == {"CHUNK"}
    assert "".join(event["text"] or "" for event in chunks) == "You said: Hello"
    assert all(event["chunk"]["object"] == "chat.completion.chunk" for event in chunks)
    assert finished["type"] == "FINISHED"
    assert finished["response"]["choices"][0]["message"]["content"] == "You said: Hello"
    assert finished["call"] == {"id": started["weaveCallId"], "status": "SUCCESS", "output": finished["response"]}


async def test_responses_and_chunks_are_read_by_path(ask: Ask, follow: Follow) -> None:
    mutation = """mutation ($path: String) {
      completionsCreate(projectId: "acme/support", inputs: {model: "gpt-4o"}) { response(path: $path) }
    }"""
    subscription = """subscription {
      completionsCreateStream(projectId: "acme/support", inputs: {model: "gpt-4o"}) {
        chunk(path: "choices.0.finish_reason") response(path: "usage.total_tokens")
      }
    }"""

    found = [
        (await ask(mutation, path=path)).data["completionsCreate"]["response"]
        for path in ("choices.0.message.content", "usage", "nothing.here")
    ]
    refused = await ask(mutation, path="a..b")
    events = [answer.data["completionsCreateStream"] async for answer in follow(subscription)]

    assert found == ["You said: nothing", USAGE, None]
    assert (refused.code, refused.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "path")
    assert [event for event in events if any(event.values())] == [
        {"chunk": "stop", "response": None},
        {"chunk": None, "response": 18},
    ]


async def test_stream_of_an_unknown_model_ends_at_once(follow: Follow) -> None:
    [answer] = [answer async for answer in follow(STREAM, inputs={"model": "custom::acme"})]

    event = answer.data["completionsCreateStream"]
    assert (event["type"], event["weaveCallId"], event["call"]) == ("FINISHED", None, None)
    assert event["response"].keys() == {"error"}


async def test_stream_with_invalid_inputs_is_an_error(follow: Follow) -> None:
    [answer] = [answer async for answer in follow(STREAM, inputs={"model": "gpt-4o", "stop": 5})]

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == "inputs.stop"


async def test_disconnect_ends_the_stream(follow: Follow, database: Database, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: "word " * 10_000
    async with aclosing(follow(STREAM, inputs={"model": "drip", "messages": HELLO})) as answers:
        for _ in range(4):
            await anext(answers)

    await until(lambda: stand_in.left == 1)
    [call] = [document async for document in database.calls.find({})]
    assert call["status"] == "error"
    assert call["exception"].startswith("The response is incomplete")
    assert call["output"]["choices"][0]["message"]["content"].startswith("word ")
