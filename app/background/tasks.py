"""What goes on in a server process beside its requests: which tasks there are, and how their work gets on."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("loomql")


@dataclass(slots=True)
class JobStats:
    """How often some work that is done now and then was done."""

    succeeded: int = 0
    failed: int = 0
    last_success: float | None = None
    """Seconds since the epoch."""

    def success(self) -> None:
        """Count in that it was done."""
        self.succeeded += 1
        self.last_success = time.time()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is done in the block: as failed where it raises."""
        try:
            yield
        except Exception:
            self.failed += 1
            raise
        self.success()


class BackgroundTasks:
    """The tasks of one process, begun in some order and ended in the same; one that breaks is told in the log."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.runs: dict[str, JobStats] = {}
        """Of work that is done now and then, by its name."""

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task of a name of its own."""
        task = self._tasks[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(_tell)
        return task

    def runs_of(self, name: str) -> JobStats:
        """Where some work counts how often it was done."""
        return self.runs.setdefault(name, JobStats())

    def running(self) -> dict[str, bool]:
        """Whether each task goes on, by name; without those that came to their end."""
        return {name: not task.done() for name, task in self._tasks.items() if not _is_over(task)}

    async def stop(self) -> None:
        """End all tasks, one after the other."""
        for task in self._tasks.values():
            task.cancel()
            await asyncio.wait({task})  # what broke was told when it did


def _is_over(task: "asyncio.Task[None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _tell(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("the task %s broke off, until the server starts again", task.get_name(), exc_info=error)
