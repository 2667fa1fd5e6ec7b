"""The resources that an idle server holds: memory, open files, threads, tasks, connections to MongoDB."""

import asyncio
import os
import signal
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from tests.fuzz.watching import Watch

_SETTLING_SECONDS: Final = 60.0
_SLACK: Final = {"memory": float("inf"), "files": 60, "threads": 40, "tasks": 3, "connections": 60}
"""Allowed growth by resource; pools of threads and of connections, which are files, keep their largest size."""


@dataclass(frozen=True, slots=True)
class State:
    """The resources of a server at one time; memory is in MiB."""

    memory: float
    files: int
    threads: int
    tasks: int
    connections: int


@dataclass
class Looker:
    """Reads the state of one server and its database."""

    watch: Watch
    tasks_file: Path
    mongodb: MongoClient[dict[str, Any]]

    async def look(self) -> State:
        """Return the current state."""
        seen = self.watch.look()
        connections = await asyncio.to_thread(
            lambda: self.mongodb.admin.command("serverStatus")["connections"]["current"]
        )
        return State(seen.memory, seen.files, seen.threads, await self._tasks(), connections)

    async def _tasks(self) -> int:
        self.tasks_file.unlink(missing_ok=True)
        os.kill(self.watch.process_id, signal.SIGUSR1)
        async with asyncio.timeout(_SETTLING_SECONDS):
            while not self.tasks_file.exists():  # noqa: ASYNC110 -- another process writes it
                await asyncio.sleep(0.02)
        return int(self.tasks_file.read_text())

    async def settled(self, before: State) -> State:
        """Wait until the server has released its resources, for a minute at most, and return the state."""
        ends = time.monotonic() + _SETTLING_SECONDS
        while leaks(before, now := await self.look()) and time.monotonic() < ends:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.2)
        return now


def leaks(before: State, after: State) -> list[str]:
    """Return a sentence for each resource that grew more than allowed."""
    pairs = ((field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(State))
    return [f"{name}: {old} before, {new} after" for name, old, new in pairs if new > old + _SLACK[name]]
