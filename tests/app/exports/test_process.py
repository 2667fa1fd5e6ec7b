"""The place of an export is given back, however it ends."""

import asyncio
import sys

import pytest

from app.exports.export import Export
from app.exports.process import ExportProcesses
from app.exports.worker import Job
from stores.exports.lists import Asked
from tests.stores.calls.builders import PROJECT

if sys.platform != "win32":
    import uvloop

JOB = Job(
    Export("calls", Asked(PROJECT)),
    "ndjson",
    with_cursors=False,
    uri="mongodb://127.0.0.1:1",
    database="none",
    timeout_seconds=10,
    query_timeout_seconds=10,
)


async def leave(processes: ExportProcesses, passes: int) -> None:
    """Leave before there is anything, after so many passes of the event loop from when the job was given."""
    process, given, give = processes.start(), asyncio.Event(), asyncio.get_running_loop().call_soon_threadsafe
    process._give = lambda _job: give(given.set)  # type: ignore[method-assign, assignment]
    reading = asyncio.ensure_future(anext(process.written(JOB)))
    await given.wait()
    for _ in range(passes):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    process.end()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop")
async def test_who_leaves_at_any_moment_of_the_beginning_gives_the_place_back() -> None:
    processes = ExportProcesses(1)

    def leave_often() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for passes in range(8):
                runner.run(leave(processes, passes))

    await asyncio.to_thread(leave_often)

    assert processes.count == 0
