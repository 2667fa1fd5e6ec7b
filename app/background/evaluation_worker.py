"""Worker that runs queued evaluations, each in one process at a time.

A server that stops releases its runs to the other processes. The runs of a process that died become available after a
quarter of a minute, when their leases expire.
"""

import asyncio
import logging
from typing import Final

from pymongo.errors import PyMongoError

from stores.errors import StoreError
from stores.evaluations.running import CONCURRENT_RUNS, EvaluationRunsStore

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 2.0
"""Maximum time in seconds before this process notices a run that another process queued."""


async def run_evaluation_worker(runs: EvaluationRunsStore, rows: int, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Run queued evaluations until cancelled, up to `CONCURRENT_RUNS` at a time; with 0 `rows`, run none.

    Cancellation releases the runs.
    """
    if not rows:
        return
    running: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            await _start_due_runs(runs, running)
            await runs.wait_for_order(pause_seconds)
    finally:
        for task in running.values():
            task.cancel()
        if running:
            await asyncio.wait(running.values())


async def _start_due_runs(runs: EvaluationRunsStore, running: dict[str, "asyncio.Task[None]"]) -> None:
    """Start as many due runs as there are free slots."""
    for call_id in [call_id for call_id, task in running.items() if task.done()]:
        _log_failure(call_id, running.pop(call_id))
    room = CONCURRENT_RUNS - len(running)
    try:
        due = await runs.available_runs(room) if room else []
    except (StoreError, PyMongoError) as error:
        logger.debug("queued evaluation runs cannot be read; the next attempt follows: %s", error)
        return
    for project_id, call_id in due:
        if call_id not in running:
            running[call_id] = asyncio.create_task(runs.execute(project_id, call_id))


def _log_failure(call_id: str, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("evaluation run %s failed; it is tried again", call_id, exc_info=error)
