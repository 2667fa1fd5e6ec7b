"""The clients of the guides, generated and type-checked in folders that their programs run in."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from stores.calls import CallsStore
from tests.clients.guides import Example
from tests.stores.calls.builders import end, start
from tests.waiting import TIMEOUT

_PIPE: Final = asyncio.subprocess.PIPE


@dataclass(frozen=True)
class Built:
    """An example in a folder, with the programs and environment of its commands.

    Args:
        example: The example of a guide.
        folder: The folder with its files.
        programs: The command line that replaces the first word of a command.
        environment: Variables in addition to those of the test.
    """

    example: Example
    folder: Path
    programs: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]

    async def build(self) -> None:
        """Write its files, and run all commands except the last."""
        self.example.write(self.folder)
        for command in self.example.commands[:-1]:
            code, output = await self.outcome(*command)
            assert code == 0, f"{command} ended with {code}: {output}"

    async def outcome(self, *command: str) -> tuple[int | None, str]:
        """Run a command and return its exit code and output."""
        process = await self._start(command, errors=asyncio.subprocess.STDOUT)
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
        return process.returncode, output.decode()

    @asynccontextmanager
    async def program(self, *arguments: str) -> AsyncIterator["Program"]:
        """Run the program until the block ends and yield it."""
        process = await self._start([*self.example.commands[-1], *arguments], errors=None)
        try:
            yield Program(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _start(self, command: Sequence[str], errors: int | None) -> asyncio.subprocess.Process:
        name, *arguments = command
        return await asyncio.create_subprocess_exec(
            *self.programs[name],
            *arguments,
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdout=_PIPE,
            stderr=errors,
        )


@dataclass(frozen=True)
class Program:
    """A running program that writes lines."""

    process: asyncio.subprocess.Process

    async def line(self) -> str:
        """Return its next line."""
        assert self.process.stdout
        async with asyncio.timeout(TIMEOUT):
            line = await self.process.stdout.readline()
        assert line, f"it ended with {await self.process.wait()}"
        return line.decode().rstrip()


async def log_and_find(program: Program) -> str:
    """Return the id of the call that the program logged, once the program has found the call again."""
    logged, call = (await program.line()).split()[:2]
    found = re.fullmatch(r"answer RUNNING (\S+) What is a weft\?", await program.line())
    assert logged == "logged"
    assert found
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found[1])) < timedelta(minutes=10)
    return call


async def see_end(program: Program) -> None:
    """Wait until the program reports that a call ended."""
    kind, name, status, latency = (await program.line()).split()
    assert (kind, name, status) == ("ENDED", "answer", "SUCCESS")
    assert int(latency) >= 0


async def end_call(calls: CallsStore, call: str, project: str) -> None:
    """End a call that a program logged."""
    await calls.write([end(id=call, project_id=project, ended_at=time.time_ns() // 1000)])


async def write_whole_call(calls: CallsStore, project: str) -> None:
    """Write a complete call that no program logged."""
    await calls.write([start(project_id=project), end(project_id=project)])
