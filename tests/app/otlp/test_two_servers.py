"""Tests of two server processes on one database: one receives spans, the other the log records of these spans."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from stores.otel import LOGS, TRACES, Signal
from tests.app.command import serving
from tests.database_pool import DatabasePool
from tests.stores.otel.messages import NOON, PATHS, SECOND, body, log, logs_body, span, span_id
from tests.stores.otel.test_agents import RUNS, recorded, split
from tests.waiting import TIMEOUT

SPANS = range(1, 13)
QUERY = """
    query ($projectId: ID!) {
      calls(projectId: $projectId, first: 100, sortBy: [{field: "started_at", direction: ASC}]) {
        nodes {
          id traceId parentId opName status startedAt endedAt latencyMs kind model threadId finishReasons
          inputs output summary storageSizeBytes
          messages { ...Message }
          outputMessages { ...Message }
          feedback(first: 10) { nodes { id feedbackType payload createdAt } }
        }
      }
    }
    fragment Message on ChatMessage {
      role
      finishReason
      parts { __typename ... on TextPart { text } ... on ToolCallPart { name arguments } }
    }
"""
Send = tuple[Signal, bytes]


@pytest.fixture(scope="module")
def servers(mongodb_uri: str, databases: DatabasePool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Run two processes on one database; yield their URLs."""
    name, folder = databases.take(), tmp_path_factory.mktemp("servers")
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": name}

    def start(file: str) -> Any:
        return serving(Path(folder / file), "--data-dir", str(folder / f"{file} data"), **own)

    with start("first") as first, start("second") as second:
        assert first.process.pid != second.process.pid
        yield [server.url.removesuffix("/graphql") for server in (first, second)]
    databases.release(name)


def of_spans() -> list[Send]:
    """Return requests with a few spans each."""
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small", "gen_ai.conversation.id": "s"}
    spans = [span(number, chat | {"gen_ai.usage.input_tokens": number}, number // 4) for number in SPANS]
    return [(TRACES, body(*spans[at : at + 3])) for at in range(0, len(spans), 3)]


def of_logs() -> list[Send]:
    """Return requests with the messages and the evaluation of each span, one record of a few spans each."""
    groups = [[records(number) for number in SPANS[at : at + 2]] for at in range(0, len(SPANS), 2)]
    return [(LOGS, logs_body(*of_place)) for group in groups for of_place in zip(*group, strict=True)]


def records(number: int) -> list[Any]:
    """Return the log records of a span."""
    answer = {"role": "assistant", "content": f"answer {number}"}
    evaluation = {"gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": number / 10}
    return [
        log("gen_ai.system.message", {}, number, {"content": "be brief"}),
        log("gen_ai.user.message", {}, number, {"content": f"question {number}"}, time_unix_nano=NOON + 1),
        log(
            "gen_ai.choice",
            {},
            number,
            {"index": 0, "finish_reason": "stop", "message": answer},
            time_unix_nano=NOON + SECOND,
        ),
        log("gen_ai.evaluation.result", evaluation, number),
    ]


async def send(url: str, project_id: str, requests: Sequence[Send], *, at_once: bool = True) -> None:
    headers = {"content-type": "application/x-protobuf", "project_id": project_id}
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, headers=headers) as client:
        sending = [client.post(PATHS[signal], content=content) for signal, content in requests]
        answers = await asyncio.gather(*sending) if at_once else [await answer for answer in sending]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * len(requests)


async def seen(url: str, project_id: str) -> list[dict[str, Any]]:
    """Return what a reader sees of the calls of a project."""
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as client:
        answer = (await client.post("/graphql", json={"query": QUERY, "variables": {"projectId": project_id}})).json()
    assert "errors" not in answer
    found: list[dict[str, Any]] = answer["data"]["calls"]["nodes"]
    return found


def check_complete(calls: list[dict[str, Any]]) -> None:
    """Check that each call has the messages and the feedback of its log records."""
    assert [call["id"] for call in calls] == [span_id(number) for number in SPANS]
    for number, call in zip(SPANS, calls, strict=True):
        asked = [(message["role"], message["parts"][0]["text"]) for message in call["messages"]]
        assert asked == [("system", "be brief"), ("user", f"question {number}")]
        [answer] = call["outputMessages"]
        assert (answer["parts"][0]["text"], answer["finishReason"]) == (f"answer {number}", "stop")
        assert call["finishReasons"] == ["stop"]
        [feedback] = call["feedback"]["nodes"]
        assert (feedback["feedbackType"], feedback["payload"]["score"]) == ("evaluation.Relevance", number / 10)


async def spans_first(servers: list[str], project_id: str) -> None:
    await send(servers[0], project_id, of_spans())
    await send(servers[1], project_id, of_logs())


async def logs_first(servers: list[str], project_id: str) -> None:
    await send(servers[1], project_id, of_logs())
    await send(servers[0], project_id, of_spans())


async def concurrently(servers: list[str], project_id: str) -> None:
    await asyncio.gather(send(servers[0], project_id, of_spans()), send(servers[1], project_id, of_logs()))


async def both_by_both(servers: list[str], project_id: str) -> None:
    """Send everything to both servers at once, each in an order of its own, as exporters that retry do."""
    requests = [*of_spans(), *of_logs()]
    await asyncio.gather(
        *(
            send(url, project_id, random.Random(seed).sample(requests, len(requests)))
            for seed, url in enumerate(servers)
        )
    )


@pytest.mark.parametrize("send_all", [spans_first, logs_first, concurrently, both_by_both])
async def test_calls_equal_those_of_one_process(
    send_all: Callable[[list[str], str], Awaitable[None]], servers: list[str]
) -> None:
    alone, shared = (f"acme/{uuid.uuid4().hex}" for _ in range(2))
    await send(servers[0], alone, [*of_spans(), *of_logs()], at_once=False)
    expected = await seen(servers[0], alone)
    check_complete(expected)

    await send_all(servers, shared)

    assert [await seen(url, shared) for url in servers] == [expected] * 2


@pytest.mark.parametrize("agent", RUNS)
async def test_events_of_an_agent_make_the_same_calls(agent: str, servers: list[str]) -> None:
    events = split(*map(recorded, RUNS[agent]))
    alone, shared = (f"acme/{uuid.uuid4().hex}" for _ in range(2))

    async def export(url: str, project_id: str, requests: Sequence[object]) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, headers={"project_id": project_id}) as client:
            for request in requests:
                assert (await client.post("/v1/logs", json=request)).json() == {}

    await export(servers[0], alone, events)
    await asyncio.gather(*(export(url, shared, events[at::4]) for at, url in enumerate(servers * 2)))

    expected = await seen(servers[0], alone)
    assert len(expected) >= 4
    assert await seen(servers[1], shared) == expected
