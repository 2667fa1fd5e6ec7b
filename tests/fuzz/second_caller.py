"""A second caller: a process of its own that sends requests at a steady rate and records how long each answer takes."""

import asyncio
import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from tests.fuzz import oracle, reading
from tests.fuzz.wire import TIMEOUT_SECONDS, Request, Wire

SECOND_PROJECT: Final = "second/caller"
READ: Final = "read"
SUCCESSES: Final = {"200", "201"}
NO_ANSWER: Final = "no answer"
_PAUSE_SECONDS: Final = 0.2


class Repeated(NamedTuple):
    """A request that the second caller sends every `period` seconds, at most `concurrency` at the same time."""

    name: str
    request: Request
    period: float
    concurrency: int = 20


class Sample(NamedTuple):
    """One answer: the time at which its request was due, and the seconds from then until the answer was complete.

    A request that starts late, because too many others are in progress, counts from its due time.
    """

    name: str
    due: float
    seconds: float
    result: str
    """HTTP status, followed by the codes of GraphQL errors."""


@dataclass(frozen=True)
class SecondCaller:
    """A running second caller. Its times are from `time.monotonic`, which all processes share."""

    process: multiprocessing.process.BaseProcess
    plan: Sequence[Repeated]
    file: Path

    async def is_ready(self) -> None:
        """Wait until each request of the plan was answered once."""
        for repeated in self.plan:
            await self.samples(repeated.name, 0, 0)

    async def samples(self, name: str, since: float, until: float) -> list[Sample]:
        """Return the samples of requests that were due between two times, once all of them are answered."""
        [period] = [repeated.period for repeated in self.plan if repeated.name == name]
        deadline = time.monotonic() + TIMEOUT_SECONDS + period
        while True:
            assert self.process.is_alive(), "the second caller ended"
            lines = self.file.read_text().splitlines(keepends=True)
            found = [Sample(*json.loads(line)) for line in lines if line.endswith("\n")]
            found = [sample for sample in found if sample.name == name]
            # Samples arrive in the order of their due times, so a later one proves that none is missing.
            if any(sample.due >= until for sample in found) or time.monotonic() > deadline:
                return [sample for sample in found if since <= sample.due < until]
            await asyncio.sleep(_PAUSE_SECONDS)


@contextmanager
def second_caller(url: str, plan: Sequence[Repeated], file: Path) -> Iterator[SecondCaller]:
    """Run a second caller until the block ends; it appends its samples to `file`."""
    file.touch()
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(url, plan, file), daemon=True)
    process.start()
    try:
        yield SecondCaller(process, plan, file)
    finally:
        process.terminate()
        process.join()


def small_query(headers: tuple[tuple[str, str], ...]) -> Repeated:
    """Return a small query of the second caller's project, to be sent ten times a second."""
    document = "query ($p: ID!) { calls(projectId: $p, first: 10) { nodes { id inputs } } }"
    body = json.dumps({"query": document, "variables": {"p": SECOND_PROJECT}}).encode()
    request = Request("graphql", "POST", "/graphql", (("Content-Type", "application/json"), *headers), body)
    return Repeated(READ, request, 0.1)


def percentile(samples: Sequence[Sample], share: float) -> float:
    """Return the seconds within which a share of the samples was answered; NaN if there are no samples."""
    ordered = sorted(sample.seconds for sample in samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


def _main(url: str, plan: Sequence[Repeated], path: Path) -> None:
    asyncio.run(_repeat_all(url, plan, path))


async def _repeat_all(url: str, plan: Sequence[Repeated], path: Path) -> None:
    with path.open("a", buffering=1) as file:
        await asyncio.gather(*(_repeat(url, repeated, file) for repeated in plan))


async def _repeat(url: str, repeated: Repeated, file: TextIO) -> None:
    """Send each request when it is due, even while earlier ones wait; write the samples in order of due time."""
    slots = asyncio.Semaphore(repeated.concurrency)
    idle: list[Wire] = []

    async def one(due: float, previous: "asyncio.Task[None] | None") -> None:
        async with slots:
            wire = idle.pop() if idle else Wire(url)
            result = await _result(wire, repeated.request)
            seconds = time.monotonic() - due
            if result == NO_ANSWER:
                await wire.close()
            else:
                idle.append(wire)
        if previous is not None:
            await previous
        file.write(json.dumps([repeated.name, due, seconds, result]) + "\n")

    due, task = time.monotonic(), None
    async with asyncio.TaskGroup() as group:
        while True:
            await asyncio.sleep(due - time.monotonic())
            task = group.create_task(one(due, task))
            due += repeated.period


async def _result(wire: Wire, request: Request) -> str:
    try:
        answer = await wire.ask(request)
    except (TimeoutError, OSError):
        return NO_ANSWER
    codes = {code for value in reading.values(answer)[0] for code in oracle.codes(value)}
    return " ".join([str(answer.status), *sorted(codes)]) if answer.status else NO_ANSWER
