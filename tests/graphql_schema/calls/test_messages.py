"""Tests of the fields `messages` and `outputMessages` of calls."""

import asyncio
import base64
import json
import re
import threading
from typing import Any

import pytest

from stores.calls import CallsStore, messages
from stores.senders.messages import Message, input_messages
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT

PARTS = """
    parts {
        __typename
        ... on TextPart { text }
        ... on ReasoningPart { text }
        ... on RefusalPart { text }
        ... on ImagePart { mediaType url ref data name fileId sizeBytes }
        ... on AudioPart { mediaType sizeBytes }
        ... on FilePart { mediaType name fileId sizeBytes }
        ... on ToolCallPart { id name arguments city: arguments(path: "city") }
        ... on ToolResultPart { id result }
    }
"""
FIELDS = f"role name finishReason {PARTS}"

ONE = """
query ($project: ID!, $id: ID!, $first: Int, $last: Int, $offset: Int) {
    call(projectId: $project, id: $id) {
        messages(first: $first, last: $last, offset: $offset) { FIELDS }
        outputMessages { FIELDS }
    }
}
""".replace("FIELDS", FIELDS)

LIST = """
query ($project: ID!, $first: Int) {
    calls(projectId: $project, first: $first) { nodes { id messages { FIELDS } } }
}
""".replace("FIELDS", FIELDS)


async def read(run: Run, number: int = 1, **arguments: int) -> Any:
    answer = await run(ONE, project=PROJECT, id=call_id(number), **arguments)
    assert answer.errors == []
    return answer.data["call"]


def said(text: str, role: str = "user") -> dict[str, Any]:
    parts = [{"__typename": "TextPart", "text": text}]
    return {"role": role, "name": None, "finishReason": None, "parts": parts}


async def test_each_type_of_part_is_read(run: Run, calls: CallsStore) -> None:
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8).decode()
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
    ]
    tool = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Berlin"}'}}
    message = {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
        "reasoning_content": "Hm.",
        "tool_calls": [tool, {**tool, "function": {"name": "weather", "arguments": "{city"}}],
    }
    await calls.write(
        [
            start(
                1,
                inputs={
                    "messages": [
                        {"role": "user", "name": "Ann", "content": content},
                        {"role": "tool", "tool_call_id": "c1", "content": "warm"},
                    ]
                },
            ),
            end(1, output={"choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}),
        ]
    )

    found = await read(run)

    [asked, result] = found["messages"]
    no_image = {"mediaType": None, "url": None, "ref": None, "data": None, "name": None, "fileId": None}
    stored = asked["parts"].pop(1)
    assert asked == {
        "role": "user",
        "name": "Ann",
        "finishReason": None,
        "parts": [
            {"__typename": "TextPart", "text": "Look"},
            {"__typename": "ImagePart", **no_image, "sizeBytes": None, "url": "https://example.com/cat.png"},
            {"__typename": "AudioPart", "mediaType": "audio/wav", "sizeBytes": 3},
            {"__typename": "FilePart", "mediaType": None, "name": "a.pdf", "fileId": "file-1", "sizeBytes": None},
        ],
    }
    assert stored["data"] is None
    assert stored["mediaType"] == "image/png", "detected, because the stored value does not state it"
    assert stored["ref"].startswith(f"weave:///{PROJECT}/file/")
    assert result["parts"] == [{"__typename": "ToolResultPart", "id": "c1", "result": "warm"}]
    assert found["outputMessages"] == [
        {
            "role": "assistant",
            "name": None,
            "finishReason": "tool_calls",
            "parts": [
                {"__typename": "ReasoningPart", "text": "Hm."},
                {"__typename": "RefusalPart", "text": "No."},
                {
                    "__typename": "ToolCallPart",
                    "id": "c1",
                    "name": "weather",
                    "arguments": {"city": "Berlin"},
                    "city": "Berlin",
                },
                {"__typename": "ToolCallPart", "id": "c1", "name": "weather", "arguments": "{city", "city": None},
            ],
        }
    ]
    file = await run(
        "query ($id: ID!) { node(id: $id) { ... on FileContentReadRes { contentType } } }", id=stored["ref"]
    )
    assert file.data["node"] is not None


async def test_call_without_output_has_no_output_messages(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1, inputs={})])

    assert await read(run) == {"messages": [], "outputMessages": []}


async def test_messages_are_read_in_pages(run: Run, calls: CallsStore) -> None:
    sent = [{"role": "user", "content": str(number)} for number in range(5)]
    await calls.write([start(1, inputs={"messages": sent})])

    for arguments, numbers in (
        ({}, [0, 1, 2, 3, 4]),
        ({"first": 2}, [0, 1]),
        ({"first": 2, "offset": 2}, [2, 3]),
        ({"offset": 4}, [4]),
        ({"offset": 9}, []),
        ({"last": 2}, [3, 4]),
        ({"first": 0}, []),
        ({"last": 0}, []),
    ):
        found = await read(run, **arguments)
        assert found["messages"] == [said(str(number)) for number in numbers], arguments


async def test_invalid_page_is_an_error_that_names_the_argument(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1, inputs={"question": "why?"})])

    for arguments, named in (
        ({"first": -1}, "first"),
        ({"last": 1, "offset": 1}, "last"),
        ({"last": 1, "first": 1}, "last"),
        ({"last": 99_999}, "last"),
    ):
        answer = await run(ONE, project=PROJECT, id=call_id(1), **arguments)
        assert answer.code == "BAD_USER_INPUT"
        assert answer.errors[0]["message"].startswith(f"{named}: ")
        assert not re.search("cursor|after|before|LOOMQL_", answer.errors[0]["message"]), "no advice that cannot help"
        assert answer.data["call"]["messages"] is None


async def test_too_many_messages_are_an_error_of_their_call_alone(run: Run, calls: CallsStore) -> None:
    many = [{"role": "user", "content": "x"}] * 100_000
    await calls.write([start(1, inputs={"messages": many}), start(2, inputs={"question": "why?"})])

    answer = await run(LIST, project=PROJECT)

    assert [node["messages"] for node in answer.data["calls"]["nodes"]] == [None, [said("why?")]]
    assert answer.code == "BAD_USER_INPUT"
    assert "100,000 messages" in answer.errors[0]["message"]
    assert answer.errors[0]["path"] == ["calls", "nodes", 0, "messages"]
    page = await read(run, first=2, offset=99_999)
    assert page["messages"] == [said("x")]


async def test_too_many_parts_are_an_error(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1, inputs={"messages": [{"role": "user", "content": ["x"] * 10_001}]})])

    answer = await run(ONE, project=PROJECT, id=call_id(1))

    assert answer.data["call"]["messages"] is None
    assert "10,000 parts" in answer.errors[0]["message"]


async def test_messages_of_the_largest_call_are_read_in_a_thread(
    run: Run, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, thread_of_loop = asyncio.get_running_loop(), threading.current_thread()
    turns: list[bool] = []

    def read_here(*given: Any) -> list[Message]:
        assert threading.current_thread() is not thread_of_loop
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        turns.append(turned.wait(TIMEOUT))
        return input_messages(*given)

    monkeypatch.setattr(messages, "input_messages", read_here)
    sent = [{"role": "user", "content": "x" * 100_000} for _ in range(38)]
    await calls.write([start(1, inputs={"messages": sent})])

    found = await read(run, first=1)

    assert found["messages"] == [said("x" * 100_000)]
    assert turns
    assert all(turns)


async def test_list_of_calls_has_equal_messages_as_single_calls(run: Run, calls: CallsStore) -> None:
    inputs = [{"messages": [{"role": "human", "content": f"{number}"}]} for number in range(30)]
    await calls.write([start(number, inputs=each) for number, each in enumerate(inputs, 1)])

    answer = await run(LIST, project=PROJECT, first=30)

    assert [node["messages"] for node in answer.data["calls"]["nodes"]] == [[said(f"{number}")] for number in range(30)]
    assert json.dumps(answer.data["calls"]["nodes"][7]["messages"]) == json.dumps((await read(run, 8))["messages"])


async def test_remote_url_is_not_fetched(run: Run, calls: CallsStore) -> None:
    connected = asyncio.Event()

    def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/cat.png"
        content = [{"type": "image_url", "image_url": {"url": url}}]
        await calls.write([start(1, inputs={"messages": [{"role": "user", "content": content}]}), end(1)])

        [message] = (await read(run))["messages"]
        await asyncio.sleep(0.1)

    assert [(part["url"], part["mediaType"], part["data"]) for part in message["parts"]] == [(url, None, None)]
    assert not connected.is_set()
