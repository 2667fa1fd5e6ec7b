"""Node, the npm packages of `package.json` in this folder, which test programs import, and those of the pages."""

import asyncio
import functools
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from app.build_hook import FOLDER, Toolchain, packages_mark, toolchain_from_pypi
from tests.installation import ROOT, Installation

_FOLDER: Final = Path(__file__).parent
_TIMEOUT_SECONDS: Final = 180
_LONGEST_LINE: Final = 1 << 24


class Node(Installation):
    """The Node of the test extra, which is new enough for every package; a Node on the PATH may not be."""

    def __init__(self, name: str, fixture: str, folder: Path) -> None:
        """Register the packages that `package.json` in a folder names.

        Args:
            name: name of the installation's lock file and log file.
            fixture: fixture of the tests that need the packages.
            folder: folder of `package.json` and of the packages.
        """
        self.packages = folder / "node_modules"
        self._folder = folder
        super().__init__(name, fixture, packages_mark(folder), self._install)

    @functools.cached_property
    def tools(self) -> Toolchain:
        """Return the paths of Node and npm."""
        found = toolchain_from_pypi()
        assert found, "install the test extra, which brings Node"
        return found

    @property
    def npx(self) -> list[str]:
        """Return the npx command, without arguments."""
        return [self.tools.node, str(Path(self.tools.npm[-1]).with_name("npx-cli.js"))]

    @property
    def path(self) -> str:
        """Return a PATH with this Node first, for programs that start Node by name."""
        return os.pathsep.join([str(Path(self.tools.node).parent), os.environ.get("PATH", os.defpath)])

    def _install(self) -> list[str]:
        # No package needs its own install script, so no script may run.
        # `Installation` runs a failed command again. With npm's default retries, an unreachable registry costs minutes.
        quick = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"]
        options = ["--include=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", *quick]
        return [*self.tools.npm, "ci", *options, "--prefix", str(self._folder)]

    @asynccontextmanager
    async def program(self, *arguments: str, folder: Path = _FOLDER) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a program with pipes for input and output; yield its process, which must then exit with 0."""
        with tempfile.TemporaryFile() as errors:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                self.tools.node, *arguments, cwd=folder, stdin=pipe, stdout=pipe, stderr=errors, limit=_LONGEST_LINE
            )
            try:
                yield process
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            errors.seek(0)
            assert process.returncode == 0, f"{arguments} ended with {process.returncode}: {errors.read().decode()}"

    async def run(self, *arguments: str, folder: Path = _FOLDER) -> str:
        """Run a program, require exit code 0 and return its output."""
        code, out, errors = await self.outcome(*arguments, folder=folder)
        assert code == 0, f"{arguments} ended with {code}:\n{out}\n{errors}"
        return out

    async def outcome(self, *arguments: str, folder: Path = _FOLDER) -> tuple[int | None, str, str]:
        """Run a program and return its exit code, output and error output."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            self.tools.node, *arguments, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                out, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, out.decode(), errors.decode()


NODE: Final = Node("npm", "node", _FOLDER)
PAGES: Final = Node("npm-pages", "pages_packages", ROOT / FOLDER)
