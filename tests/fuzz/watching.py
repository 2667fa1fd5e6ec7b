"""Observation of the server during a run: memory, open files, threads, pings and log."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz.wire import Request, Wire

_MIB: Final = 1024
_PAUSE_SECONDS: Final = 0.1
_LONG_SECONDS: Final = 0.7
_FAILURE: Final = re.compile(
    r"unexpected error|Traceback|never retrieved|never awaited|Exception in|^ERROR", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A snapshot of the process: seconds since the first look, resident memory in MiB, open files, threads."""

    at: float
    memory: float
    files: int
    threads: int


@dataclass
class Watch:
    """Observes a process and pings it while `go_on` runs."""

    url: str
    process_id: int
    stalled: Callable[[float, float], None] = lambda _began, _ended: None
    seen: list[Seen] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def look(self) -> Seen:
        """Take a snapshot of the process and record it."""
        folder = Path(f"/proc/{self.process_id}")
        status = (folder / "status").read_text()
        now = Seen(
            time.monotonic() - self.began,
            int(status.split("VmRSS:")[1].split()[0]) / _MIB,
            len(list((folder / "fd").iterdir())),
            int(status.split("Threads:")[1].split()[0]),
        )
        self.seen.append(now)
        return now

    async def go_on(self) -> None:
        """Ping and look until cancelled.

        Raises:
            TimeoutError: the server did not answer a ping in time.
        """
        wire = Wire(self.url)
        try:
            while True:
                answer = await wire.ask(Request("healthz", "GET", "/healthz"))
                assert answer.status == 200, answer
                self.pings.append(answer.seconds)
                if answer.seconds > _LONG_SECONDS:
                    ended = time.monotonic()
                    # Requests in progress during the stall get their answers at about the same time as the ping.
                    await asyncio.sleep(_PAUSE_SECONDS)
                    self.stalled(ended - answer.seconds, ended)
                self.look()
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await wire.close()


def failures(log: str) -> list[str]:
    """Return each unexpected failure in a server's log, with the text that follows it."""
    return [log[found.start() : found.start() + 6000] for found in _FAILURE.finditer(log)]
