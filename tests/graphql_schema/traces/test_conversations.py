"""Tests of the conversations of traces and threads."""

from typing import Any

import pytest

from stores import conversations
from stores.calls import CallEnd, CallsStore, CallStart
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id

FIELDS = "{ callId call { id opName } message { role parts { ... on TextPart { text } } } }"
OF_TRACE = f"""
query ($project: ID!, $id: ID!, $first: Int, $last: Int, $offset: Int) {{
    trace(projectId: $project, traceId: $id) {{ conversation(first: $first, last: $last, offset: $offset) {FIELDS} }}
}}
"""
OF_THREADS = f"""
query ($project: ID!) {{ threads(projectId: $project) {{ nodes {{ threadId conversation {FIELDS} }} }} }}
"""


def model_call(number: int, history: list[str], answer: str, **changes: Any) -> list[CallStart | CallEnd]:
    """Return a model call: the texts of its history are alternately the user's and the assistant's."""
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(history)]
    changes = {"op_name": "openai.chat.completions.create", "trace_id": trace_id(1), "parent_id": call_id(1)} | changes
    return [start(number, inputs={"messages": messages}, **changes), end(number, output=answer)]


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [
        (entry["callId"], entry["message"]["role"], entry["message"]["parts"][0]["text"])
        for entry in entries
        if entry["call"]["id"] == entry["callId"]
    ]


async def test_conversation_of_a_trace_has_each_message_once(run: Run, calls: CallsStore) -> None:
    await calls.write(
        [
            start(1, op_name="agent", trace_id=trace_id(1), inputs={"question": "hi"}),
            end(1, output="ciao"),
            *model_call(2, ["hi"], "hello"),
            *model_call(3, ["hi", "hello", "bye"], "ciao"),
        ]
    )

    answer = await run(OF_TRACE, project=PROJECT, id=trace_id(1))

    assert answer.errors == []
    expected = [
        (call_id(2), "user", "hi"),
        (call_id(2), "assistant", "hello"),
        (call_id(3), "user", "bye"),
        (call_id(3), "assistant", "ciao"),
    ]
    assert told(answer.data["trace"]["conversation"]) == expected
    for arguments, entries in (({"first": 1, "offset": 1}, expected[1:2]), ({"last": 3}, expected[1:])):
        page = await run(OF_TRACE, project=PROJECT, id=trace_id(1), **arguments)
        assert told(page.data["trace"]["conversation"]) == entries


async def test_trace_without_model_calls_has_the_messages_of_its_root(run: Run, calls: CallsStore) -> None:
    await calls.write(
        [
            start(1, op_name="agent", trace_id=trace_id(1), inputs={"question": "hi"}),
            end(1, output="hello"),
            start(2, op_name="step", trace_id=trace_id(1), parent_id=call_id(1), inputs={"question": "inner"}),
        ]
    )

    answer = await run(OF_TRACE, project=PROJECT, id=trace_id(1))

    assert told(answer.data["trace"]["conversation"]) == [
        (call_id(1), "user", "hi"),
        (call_id(1), "assistant", "hello"),
    ]


async def test_conversation_of_a_thread_goes_through_its_traces(run: Run, calls: CallsStore) -> None:
    def turn(number: int, history: list[str], answer: str) -> list[CallStart | CallEnd]:
        in_thread = {"trace_id": trace_id(number), "thread_id": "chat", "turn_id": call_id(number)}
        return [
            start(number, op_name="turn", **in_thread),
            end(number),
            *model_call(number + 1, history, answer, parent_id=call_id(number), **in_thread),
        ]

    await calls.write([*turn(1, ["hi"], "hello"), *turn(3, ["hi", "hello", "bye"], "ciao"), *turn(5, ["hi"], "hello")])

    answer = await run(OF_THREADS, project=PROJECT)

    assert answer.errors == []
    [thread] = answer.data["threads"]["nodes"]
    assert [(call, text) for call, _, text in told(thread["conversation"])] == [
        (call_id(2), "hi"),
        (call_id(2), "hello"),
        (call_id(4), "bye"),
        (call_id(4), "ciao"),
        (call_id(6), "hi"),
        (call_id(6), "hello"),
    ]


async def test_too_many_calls_or_messages_are_an_error_that_names_the_limit(
    run: Run, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([*model_call(2, ["hi"], "hello"), *model_call(3, ["hi", "hello", "bye"], "ciao")])

    for name, limit, message in (("MAX_CALLS", 1, "1 model calls"), ("MAX_ENTRIES", 3, "3 messages")):
        with monkeypatch.context() as patch:
            patch.setattr(conversations, name, limit)
            answer = await run(OF_TRACE, project=PROJECT, id=trace_id(1))
        assert answer.code == "BAD_USER_INPUT"
        assert message in answer.errors[0]["message"]
        assert answer.data["trace"] == {"conversation": None}
