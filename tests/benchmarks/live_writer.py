"""`python -m tests.benchmarks.live_writer`: writes calls at a given rate and prints when each was acknowledged."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx
import uvloop

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database
from stores.ids import new_id
from tests.benchmarks.ingest import CREATE_BATCH, Pair, item_of
from tests.benchmarks.live_watchers import STARTED
from tests.benchmarks.sides import request

TEXT: Final = "What is the capital of this country, and since when? " * 12

_START: Final = "mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id } }"
_END: Final = "mutation ($end: EndedCallSchemaForInsert!) { callEnd(end: $end) { id } }"
_JSON: Final = {"Content-Type": "application/json"}
_TIMEOUT_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.01

Part = CallStart | CallEnd
Send = Callable[[Sequence[Part]], Awaitable[object]]


def parts(project_id: str, op_name: str) -> Pair:
    """Return the start and the end of a call of 2 kB."""
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


@dataclass(slots=True)
class Writer:
    """Writes batches of calls and records when each event was sent and acknowledged."""

    send: Send
    is_whole: bool
    sent: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)

    async def write(self, batch: list[Pair]) -> None:
        """Write starts and ends together, which causes one event for each call, or first all starts, then all ends."""
        starts, ends = [start for start, _ in batch], [end for _, end in batch]
        ended = [str(end.id) for end in ends]
        if self.is_whole:
            await self._send([*starts, *ends], ended)
        else:
            await self._send(starts, [f"{start.id}{STARTED.decode()}" for start in starts])
            await self._send(ends, ended)

    async def _send(self, parts: Sequence[Part], events: list[str]) -> None:
        self.sent.update(dict.fromkeys(events, time.monotonic()))
        await self.send(parts)
        self.acknowledged.update(dict.fromkeys(events, time.monotonic()))


@asynccontextmanager
async def sending(order: dict[str, Any]) -> AsyncIterator[Send]:
    """Yield a function that writes: over HTTP if there is a URL, else through the store."""
    if order["url"]:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, headers=_JSON) as client:
            yield partial(_post, client, order["url"])
    else:
        database = Database.open(order["uri"], order["database"])
        yield CallsStore(database).write
        database.close()


async def _post(client: httpx.AsyncClient, url: str, parts: Sequence[Part]) -> None:
    answer = await client.post(url, content=body_of(parts))
    if answer.status_code != httpx.codes.OK or "errors" in answer.json():
        raise AssertionError(f"the server answered {answer.text[:500]}")


def body_of(parts: Sequence[Part]) -> bytes:
    """Return the request that writes some parts; a single part uses the mutation for one."""
    if len(parts) > 1:
        return request(CREATE_BATCH, batch=[item_of(part) for part in parts])
    [part] = parts
    return request(_START if isinstance(part, CallStart) else _END, **item_of(part))


async def main(order: dict[str, Any]) -> None:
    """Write batches of calls as the options say, each at its time, even while others are in progress."""
    number = 0
    async with sending(order) as send, asyncio.TaskGroup() as writing:
        writer = Writer(send, order["whole"])
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < order["seconds"] or not number:  # one batch also after a pause
            batch: list[Pair] = []
            while number < elapsed * order["rate"] and len(batch) < order["batch"]:
                watched = order["watched"][number % len(order["watched"])]
                batch.append(parts(watched[0], watched[1] or "answer"))
                number += 1
            if batch:
                writing.create_task(writer.write(batch))
            await asyncio.sleep(_PAUSE_SECONDS)
    took = max(writer.acknowledged.values()) - began
    json.dump({"sent": writer.sent, "acknowledged": writer.acknowledged, "took": took}, sys.stdout)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.stdin.readline())))
