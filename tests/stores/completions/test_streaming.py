"""Tests of completions that stream chunks: the events to the client and the stored call."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.completions import CompletionEvent, CompletionsStore
from stores.database import Database
from stores.errors import BadInputError, PayloadTooLargeError
from stores.senders.stream_assembly import AssembledCompletion
from tests.stand_in_provider import KEY, USAGE, StandIn
from tests.stores.completions.test_tracking import HELLO, PROJECT, kept
from tests.waiting import TIMEOUT, until, until_found

MEGABYTE = 1024 * 1024


async def all_of(completions: CompletionsStore, *, is_tracked: bool = True, **inputs: Any) -> list[CompletionEvent]:
    stream = completions.stream(PROJECT, {"messages": HELLO, **inputs}, is_tracked=is_tracked)
    return [event async for event in stream]


def text_of(events: list[CompletionEvent]) -> str:
    deltas = [choice["delta"] for event in events if event.chunk for choice in event.chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_stream_starts_with_its_call_and_ends_with_the_stored_response(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    events = await all_of(completions, model="gpt-4o")

    started, *chunks, finished = events
    call = await kept(calls, started.call_id)
    assert [event.type for event in events] == ["started", *["chunk"] * len(chunks), "finished"]
    assert {event.call_id for event in events} == {started.call_id}
    assert text_of(chunks) == "You said: Hello"
    assert len(chunks) > 3
    assert finished.response == {
        "object": "chat.completion",
        "id": "chatcmpl-stand-in",
        "created": 1_760_000_000,
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "You said: Hello"}, "finish_reason": "stop"}
        ],
        "usage": USAGE,
    }
    assert call["output"] == finished.response
    assert (call["status"], call["summary"]) == ("success", {"usage": {"gpt-4o": USAGE}})
    assert stand_in.bodies[0]["stream_options"] == {"include_usage": True}
    assert call["inputs"] == {"model": "gpt-4o", "messages": HELLO}


async def test_tool_calls_are_assembled(completions: CompletionsStore) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "forecast", "parameters": parameters}}]

    *_, finished = await all_of(completions, model="gpt-4o", tools=tools, n=2)

    assert finished.response is not None
    [first, second] = finished.response["choices"]
    [call] = first["message"]["tool_calls"]
    assert call["function"] == {"name": "forecast", "arguments": '{"city": "text", "days": 7}'}
    assert (call["id"], call["type"], first["finish_reason"]) == ("call_1", "function", "tool_calls")
    assert second == {**first, "index": 1}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("cut", "broke off the connection in the middle of its answer"),
        ("unfinished", "was cut off before it was finished"),
        ("fails-midway", "The model fell over for ***."),
        ("no-json", "has no chunks, so it is no stream"),
        ("status-429", "answered 429"),
        ("endless", "larger than 8,388,608 bytes"),
    ],
)
async def test_interrupted_stream_stores_the_received_chunks(
    completions: CompletionsStore, calls: CallsStore, model: str, expected: str
) -> None:
    events = await all_of(completions, model=model)

    response = events[-1].response
    call = await kept(calls, events[0].call_id)
    assert response is not None
    assert expected in response["error"]
    assert (events[-1].type, call["status"], call["exception"]) == ("finished", "error", response["error"])
    assert KEY not in str(call)
    came = text_of(events)
    assert bool(came) == (model in {"cut", "unfinished", "fails-midway", "endless"})
    if came and model != "endless":
        assert response["choices"][0]["message"]["content"] == came
        assert call["output"] == response


async def test_stalled_stream_times_out(completions: CompletionsStore, calls: CallsStore) -> None:
    events = await all_of(completions, model="slow-30", timeout=0.2)

    assert events[-1].response is not None
    assert "did not answer within 0.2 seconds" in events[-1].response["error"]
    assert (await kept(calls, events[0].call_id))["status"] == "error"


async def test_disconnect_ends_the_provider_stream_and_stores_its_chunks(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: "word " * 10_000
    inputs = {"model": "drip", "messages": HELLO}
    async with aclosing(completions.stream(PROJECT, inputs)) as stream:
        events = [await anext(stream) for _ in range(6)]

    call = await kept(calls, events[0].call_id)
    await until(lambda: stand_in.left == 1)
    assert call["status"] == "error"
    assert call["exception"].startswith("The response is incomplete")
    assert call["output"]["choices"][0]["message"]["content"] == text_of(events) == "word " * 4
    assert stand_in.sent_chunks < 100


async def test_cancelled_stream_leaves_an_ended_call(
    completions: CompletionsStore, calls: CallsStore, database: Database, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: "word " * 10_000
    reading = asyncio.create_task(all_of(completions, model="drip"))
    await until_found(lambda: database.calls.find_one({"status": "running"}))
    [running] = [document async for document in database.calls.find({})]

    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await completions.close()

    assert (await kept(calls, running["id"]))["status"] == "error"
    await until(lambda: stand_in.left == 1 or stand_in.sent_chunks == 0)


async def test_slow_reader_slows_the_provider_down(completions: CompletionsStore, stand_in: StandIn) -> None:
    async with aclosing(completions.stream(PROJECT, {"model": "endless", "messages": HELLO})) as stream:
        for _ in range(3):
            await anext(stream)
        sent = readings = 0
        async with asyncio.timeout(TIMEOUT):
            while readings < 5:
                await asyncio.sleep(0.2)
                readings = readings + 1 if 0 < sent == stand_in.sent_chunks else 0
                sent = stand_in.sent_chunks
                # The sockets' buffers hold the sent chunks, some megabytes at most each.
                assert sent * 10_000 < 7 * MEGABYTE


async def test_untracked_stream_stores_no_call(completions: CompletionsStore, database: Database) -> None:
    events = await all_of(completions, is_tracked=False, model="gpt-4o")

    assert {event.call_id for event in events} == {None}
    assert events[-1].response is not None
    assert events[-1].response["usage"] == USAGE
    assert await database.calls.count_documents({}) == 0


async def test_unknown_model_is_reported_at_once(completions: CompletionsStore, database: Database) -> None:
    [event] = await all_of(completions, model="custom::acme")

    assert (event.type, event.call_id) == ("finished", None)
    assert event.response is not None
    assert event.response.keys() == {"error"}
    assert await database.calls.count_documents({}) == 0


async def test_invalid_inputs_are_refused(completions: CompletionsStore, stand_in: StandIn) -> None:
    with pytest.raises(BadInputError):
        await all_of(completions, model="gpt-4o", stop=5)
    with pytest.raises(PayloadTooLargeError):
        await all_of(completions, model="gpt-4o", user="word " * 2_000_000)

    assert stand_in.requests == []


async def test_mistral_request_omits_unsupported_parameters(completions: CompletionsStore) -> None:
    reached = await completions.endpoints.resolve(PROJECT, "mistral/small", {"api_key": "x"})

    assert not reached.takes_stream_options


def test_malformed_chunks_do_no_harm() -> None:
    streamed = AssembledCompletion()
    odd: list[Any] = [
        {},
        {"choices": None},
        {"choices": [None, 5, {}, {"index": -1}, {"index": 10**9}, {"index": "x"}]},
        {"choices": [{"index": 0, "delta": 5, "logprobs": []}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a"}, None, {"index": 10**9}]}}]},
        {"choices": [{"delta": {"tool_calls": "none", "content": {"a": 1}}}]},
        {"choices": [{"delta": {"content": "b", "annotations": [{"a": 1}]}}], "usage": 5},
        {"choices": [{"delta": {"content": None, "annotations": [{"b": 2}]}, "finish_reason": "stop"}]},
        {"choices": [{"logprobs": {"content": [{"token": "a"}]}}, {"logprobs": {"content": [{"token": "b"}]}}]},
    ]

    for chunk in odd:
        streamed.add(chunk)

    [choice] = streamed.completion["choices"]
    assert choice["message"]["content"] == "b"
    assert choice["message"]["annotations"] == [{"a": 1}, {"b": 2}]
    assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}
    assert choice["finish_reason"] == "stop"
