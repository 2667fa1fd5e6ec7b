"""What goes on as long as the server does: runs of evaluations, each worked on by one of all processes at a time.

A server that stops gives its runs back, so that another goes on with them; the runs of one that died are free a
quarter of a minute later.
"""

import asyncio
import logging
from typing import Final

from pymongo.errors import PyMongoError

from stores.errors import StoreError
from stores.evaluations.running import CONCURRENT_RUNS, EvaluationRunsStore

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 2.0
"""How long a run that another process took the order of waits for us at most."""


async def run_evaluation_worker(runs: EvaluationRunsStore, rows: int, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Work on runs that nobody works on, a few at once, for good; without rows on none.

    Whoever is cancelled gives all of them back.
    """
    if not rows:
        return
    at_work: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            await _take(runs, at_work)
            await runs.wait_for_order(pause_seconds)
    finally:
        for task in at_work.values():
            task.cancel()
        if at_work:
            await asyncio.wait(at_work.values())


async def _take(runs: EvaluationRunsStore, at_work: dict[str, "asyncio.Task[None]"]) -> None:
    """Begin to work on as many runs as there is room for."""
    for call_id in [call_id for call_id, task in at_work.items() if task.done()]:
        _tell(call_id, at_work.pop(call_id))
    room = CONCURRENT_RUNS - len(at_work)
    try:
        due = await runs.available_runs(room) if room else []
    except (StoreError, PyMongoError) as error:
        logger.debug("the runs of evaluations are looked for again: %s", error)
        return
    for project_id, call_id in due:
        if call_id not in at_work:
            at_work[call_id] = asyncio.create_task(runs.execute(project_id, call_id))


def _tell(call_id: str, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("the work on the run %s failed, and is tried again", call_id, exc_info=error)
