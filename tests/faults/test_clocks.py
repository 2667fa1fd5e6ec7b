"""Two servers whose clocks are hours apart: counts are exact, as only MongoDB's clock decides on hour marks."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores import times
from tests.app.command import Server, serving
from tests.chance import SEED
from tests.faults.shifted_server import MARK_SECONDS
from tests.stores.calls.builders import PROJECT, call_id
from tests.waiting import TIMEOUT, until_found

if TYPE_CHECKING:
    from stores.database import Document

HOUR = 3_600 * times.SECOND
NOON = times.parse("2026-01-31T12:00:00Z")
ROUNDS = 12

READ = """query ($p: ID!) {
  calls(projectId: $p) { totalCount few: totalCount(limit: 9) }
  callsAggregate(projectId: $p, groupBy: [STATUS, TIME_BUCKET], bucket: HOUR) { rows { status bucketStart count } }
  explain(projectId: $p) { countsByRollups }
}"""
WRITE = "mutation ($batch: [CallBatchMode!]!) { callCreateBatch(batch: $batch) { res { __typename } } }"
DELETE = "mutation ($p: ID!, $ids: [ID!]!) { callsDelete(projectId: $p, callIds: $ids) { numDeleted } }"


@pytest.fixture
def servers(own_mongodb_uri: str, tmp_path: Path) -> Iterator[list[Server]]:
    """Start two servers on one database: the clock of one is an hour fast, and that of the other an hour slow."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serving(
                    tmp_path / str(shift),
                    program=(sys.executable, "-m", "tests.faults.shifted_server", str(shift)),
                    LOOMQL_MONGODB_URI=own_mongodb_uri,
                    LOOMQL_MONGODB_DATABASE="test_clocks",
                )
            )
            for shift in (3_600, -3_600)
        ]


async def _ask(client: httpx.AsyncClient, server: Server, query: str, **variables: Any) -> Any:
    answer = (await client.post(server.url, json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer
    return answer["data"]


def _start(number: int, at: int) -> dict[str, Any]:
    times_and_id = {"id": call_id(number), "startedAt": times.to_text(at)}
    return {"start": {"projectId": PROJECT, "opName": "op", "inputs": {}, "attributes": {}, **times_and_id}}


def _end(number: int, at: int) -> dict[str, Any]:
    return {"end": {"projectId": PROJECT, "id": call_id(number), "endedAt": times.to_text(at + 1), "summary": {}}}


class _Model:
    """The hour and the status of each call."""

    def __init__(self) -> None:
        self.calls: dict[int, tuple[int, str]] = {}

    async def assert_exact(self, client: httpx.AsyncClient, server: Server) -> bool:
        """Compare the counts of a server; return True if it may use roll-ups."""
        found = await _ask(client, server, READ, p=PROJECT)
        number = len(self.calls)
        assert found["calls"] == {"totalCount": number, "few": min(number, 9)}
        chart = Counter({(row["status"], row["bucketStart"]): row["count"] for row in found["callsAggregate"]["rows"]})
        hours = [(status, times.to_text(at - at % HOUR)) for at, status in self.calls.values()]
        assert chart == Counter(hours)
        return bool(found["explain"]["countsByRollups"])


async def test_counts_are_exact_if_clocks_are_hours_apart(servers: list[Server], own_mongodb_uri: str) -> None:
    rng, model, rolled_up = Random(SEED), _Model(), 0
    mongodb: AsyncIOMotorClient[Document] = AsyncIOMotorClient(own_mongodb_uri)
    marks = mongodb["test_clocks"]["hour_marks"]

    async def is_settled() -> bool:
        return await marks.distinct("ready") == [True] and not await marks.count_documents({"ready": None})

    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        for turn in range(ROUNDS):
            writer, other = servers if turn % 2 else servers[::-1]
            # Also of the hours that the two clocks show.
            hours = [NOON, NOON + HOUR, *(times.now() + shift * HOUR for shift in (-1, 0, 1))]
            batch = []
            for number in range(5 * turn, 5 * turn + 5):
                at = rng.choice(hours) + rng.randrange(1_000)
                model.calls[number] = at, "RUNNING"
                batch.append(_start(number, at))
            await _ask(client, writer, WRITE, batch=batch)
            rolled_up += await model.assert_exact(client, other)
            ended = rng.sample(sorted(model.calls), 3)
            for each in ended:
                model.calls[each] = model.calls[each][0], "SUCCESS"
            deleted = rng.choice(sorted(model.calls))
            del model.calls[deleted]
            await asyncio.gather(
                _ask(
                    client, other, WRITE, batch=[_end(each, model.calls[each][0]) for each in ended if each != deleted]
                ),
                _ask(client, writer, DELETE, p=PROJECT, ids=[call_id(deleted)]),
            )
            for server in servers:
                rolled_up += await model.assert_exact(client, server)
            await asyncio.sleep(rng.choice((0, MARK_SECONDS / 3, 1.5 * MARK_SECONDS)))
        await until_found(is_settled)
        assert all([await model.assert_exact(client, server) for server in servers])
    mongodb.close()
    assert rolled_up > ROUNDS
