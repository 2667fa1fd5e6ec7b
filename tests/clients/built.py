"""The clients of the guides, generated and type-checked: folders in which their programs run."""

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
    """An example in a folder, and what its commands begin with there.

    Args:
        example: of a guide.
        folder: where its files are.
        programs: what stands for the first word of a command.
        environment: what is set beside the test's own.
    """

    example: Example
    folder: Path
    programs: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]

    async def build(self) -> None:
        """Write its files, and run all commands but the last."""
        self.example.write(self.folder)
        for command in self.example.commands[:-1]:
            code, said = await self.outcome(*command)
            assert code == 0, f"{command} ended with {code}: {said}"

    async def outcome(self, *command: str) -> tuple[int | None, str]:
        """With which code a command ended, and what it said."""
        process = await self._start(command, errors=asyncio.subprocess.STDOUT)
        async with asyncio.timeout(TIMEOUT):
            said, _ = await process.communicate()
        return process.returncode, said.decode()

    @asynccontextmanager
    async def program(self, *arguments: str) -> AsyncIterator["Program"]:
        """The program, which runs to the end of the block."""
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
    """A program that writes lines."""

    process: asyncio.subprocess.Process

    async def line(self) -> str:
        """Its next line."""
        assert self.process.stdout
        async with asyncio.timeout(TIMEOUT):
            line = await self.process.stdout.readline()
        assert line, f"it ended with {await self.process.wait()}"
        return line.decode().rstrip()


async def log_and_find(program: Program) -> str:
    """The id of the call that the program logged, once it has found it again."""
    logged, call = (await program.line()).split()[:2]
    found = re.fullmatch(r"answer RUNNING (\S+) What is a weft\?", await program.line())
    assert logged == "logged"
    assert found
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found[1])) < timedelta(minutes=10)
    return call


async def see_end(program: Program) -> None:
    """Wait until the program sees that a call ended."""
    kind, name, status, latency = (await program.line()).split()
    assert (kind, name, status) == ("ENDED", "answer", "SUCCESS")
    assert int(latency) >= 0


async def end_call(calls: CallsStore, call: str, project: str) -> None:
    """End a call that a program logged."""
    await calls.write([end(id=call, project_id=project, ended_at=time.time_ns() // 1000)])


async def write_whole_call(calls: CallsStore, project: str) -> None:
    """Write a call that a program did not log, with its end."""
    await calls.write([start(project_id=project), end(project_id=project)])
