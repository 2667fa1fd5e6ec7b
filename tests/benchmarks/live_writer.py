"""`python -m tests.benchmarks.live_writer`: writes calls at a rate, and prints when each write was acknowledged."""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop
from motor.motor_asyncio import AsyncIOMotorClient

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database, Document
from stores.ids import new_id
from tests.benchmarks.live_watchers import STARTED

TEXT = "What is the capital of this country, and since when? " * 12


def parts(project_id: str, op_name: str) -> tuple[CallStart, CallEnd]:
    """The start and the end of a call of 2 kB."""
    call_id, now = new_id(), times.now()
    started = CallStart(
        project_id=project_id,
        id=call_id,
        op_name=op_name,
        started_at=now,
        attributes={},
        inputs={"question": TEXT, "temperature": 0.5},
    )
    ended = CallEnd(
        project_id=project_id,
        id=call_id,
        ended_at=now + 1_000_000,
        summary={"usage": {"gpt-4o": {"prompt_tokens": 120, "completion_tokens": 80, "requests": 1}}},
        output={"answer": TEXT},
    )
    return started, ended


async def main(told: dict[str, Any]) -> None:
    """Write as told: batches of calls that are whole, each at its time, whatever the others take."""
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(told["uri"])
    calls = CallsStore(Database(client, told["database"]))
    acknowledged: dict[str, float] = {}
    number = 0

    async def write(batch: list[tuple[CallStart, CallEnd]]) -> None:
        if told["whole"]:
            await calls.write([part for both in batch for part in both])
        else:
            await calls.write([start for start, _end in batch])
            now = time.monotonic()
            acknowledged.update((f"{start.id}{STARTED.decode()}", now) for start, _end in batch)
            await calls.write([end for _start, end in batch])
        now = time.monotonic()
        acknowledged.update((str(start.id), now) for start, _end in batch)

    began = time.monotonic()
    writing: list[asyncio.Task[None]] = []
    while (elapsed := time.monotonic() - began) < told["seconds"]:
        batch = []
        while number < elapsed * told["rate"] and len(batch) < told["batch"]:
            watched = told["watched"][number % len(told["watched"])]
            batch.append(parts(watched[0], watched[1] or "answer"))
            number += 1
        if batch:
            writing.append(asyncio.create_task(write(batch)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*writing)
    json.dump(acknowledged, sys.stdout)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.stdin.readline())))
