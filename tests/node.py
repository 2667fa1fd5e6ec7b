"""Node, and the npm packages of `package.json` beside this file, which programs below this folder import."""

import asyncio
import functools
import hashlib
import os
from pathlib import Path
from typing import Final

from app.graphiql.build_hook import Toolchain, toolchain_from_pypi
from tests.installation import Installation

_FOLDER: Final = Path(__file__).parent
_PATIENCE_SECONDS: Final = 180


class Node(Installation):
    """The Node that the test extra brings, and not the PATH's: one for all, and new enough for every package."""

    def __init__(self) -> None:
        self.packages = _FOLDER / "node_modules"
        locked = b"".join((_FOLDER / name).read_bytes() for name in ("package.json", "package-lock.json"))
        mark = self.packages / f".whole-{hashlib.sha256(locked).hexdigest()[:16]}"
        super().__init__("npm", "node", mark, self._install)

    @functools.cached_property
    def tools(self) -> Toolchain:
        """Node and npm."""
        found = toolchain_from_pypi()
        assert found, "install the test extra, which brings Node"
        return found

    def _install(self) -> list[str]:
        # No package's own script is needed, so none may run.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        return [*self.tools.npm, "ci", *options, "--prefix", str(_FOLDER)]

    def script(self, package: str, path: str) -> tuple[str, str]:
        """A package's command, to put arguments behind."""
        return self.tools.node, str(self.packages / package / path)

    async def start(self, *command: str, folder: Path = _FOLDER) -> asyncio.subprocess.Process:
        """Start a program whose input, output and errors are pipes."""
        pipe = asyncio.subprocess.PIPE
        path = os.pathsep.join([str(Path(self.tools.node).parent), os.environ.get("PATH", os.defpath)])
        return await asyncio.create_subprocess_exec(
            *command, cwd=folder, env={**os.environ, "PATH": path}, stdin=pipe, stdout=pipe, stderr=pipe
        )

    async def run(self, *command: str, folder: Path = _FOLDER) -> bytes:
        """What a program wrote, which ended well."""
        process = await self.start(*command, folder=folder)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = (out + err).decode()
        assert process.returncode == 0, f"{' '.join(command)} ended with {process.returncode}:\n{said}"
        return out


NODE: Final = Node()
