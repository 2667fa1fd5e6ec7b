"""Tests that an export's process runs the server's own program and that its slot is released however it ends."""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest

from app.exports.worker import Export, ExportProcessPool, Job
from stores.calls import CallsStore
from stores.exports import RowSelection
from tests.app.command import PROGRAM, ROOT, serving
from tests.stores.calls.builders import PROJECT, start
from tests.waiting import TIMEOUT

if sys.platform != "win32":
    import uvloop

JOB = Job(
    Export("calls", RowSelection(PROJECT)),
    "ndjson",
    with_cursors=False,
    uri="mongodb://127.0.0.1:1",
    database="none",
    timeout_seconds=10,
    query_timeout_seconds=10,
)


async def leave(processes: ExportProcessPool, passes: int) -> None:
    """Cancel an export before its first output, that many event loop turns after it was requested."""
    process = processes.start(JOB)
    reading = asyncio.ensure_future(anext(process.output()))
    for _ in range(passes):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    process.end()


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run on Windows")
async def test_export_cancelled_during_start_releases_its_slot() -> None:
    processes = ExportProcessPool(1)

    def leave_often() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for passes in range(8):
                runner.run(leave(processes, passes))

    await asyncio.to_thread(leave_often)

    assert processes.limiter.in_use == 0


async def test_modules_in_the_working_directory_are_not_imported(
    calls: CallsStore, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    count = 1_200
    await calls.write([start(number) for number in range(count)])
    another = tmp_path / "app"
    another.mkdir()
    (another / "__init__.py").write_text("raise ImportError('the app of somebody else')")
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name, "PYTHONPATH": str(ROOT)}
    interpreter, *command = PROGRAM

    with serving(tmp_path / "out", program=[interpreter, "-P", *command], folder=str(tmp_path), **own) as server:
        url = server.url.removesuffix("/graphql") + "/export/calls"
        answer = await asyncio.to_thread(httpx.get, url, params={"projectId": PROJECT}, timeout=TIMEOUT)

    *_rows, last = answer.text.splitlines()
    assert json.loads(last)["loomql_export"].items() >= {"count": count, "complete": True}.items()


async def test_export_whose_process_cannot_start_releases_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = ExportProcessPool(2)

    def fail(*_arguments: object, **_options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("app.exports.worker.subprocess.Popen", fail)
        for _ in range(3):
            with pytest.raises(BlockingIOError):
                processes.start(JOB, "caller")

    assert processes.limiter.in_use == 0
    processes.start(JOB, "caller").end()
