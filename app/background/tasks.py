"""Background tasks of a server process, and statistics of periodic jobs."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("loomql")


@dataclass(slots=True)
class JobStats:
    """Outcomes of a periodic job."""

    succeeded: int = 0
    failed: int = 0
    last_success: float | None = None
    """Seconds since the epoch; None before the first success."""

    def success(self) -> None:
        """Count a successful run."""
        self.succeeded += 1
        self.last_success = time.time()


class BackgroundTasks:
    """The background tasks of one process, stopped in the order in which they started. A failure is logged at once."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.job_stats: dict[str, JobStats] = {}
        """Statistics of periodic jobs, by job name."""

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task under a unique name."""
        task = self._tasks[name] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(_log_failure)
        return task

    def stats_of(self, name: str) -> JobStats:
        """Return the statistics of a job; create them on first use."""
        return self.job_stats.setdefault(name, JobStats())

    def running(self) -> dict[str, bool]:
        """Map task names to True if the task runs and to False if it failed; finished tasks are left out."""
        return {name: not task.done() for name, task in self._tasks.items() if not _has_succeeded(task)}

    async def stop(self) -> None:
        """Cancel all tasks, one after the other."""
        for task in self._tasks.values():
            task.cancel()
            await asyncio.wait({task})  # `wait` ignores the task's error, which is already logged


def _has_succeeded(task: "asyncio.Task[None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("background task %s failed; it runs again after a restart", task.get_name(), exc_info=error)
