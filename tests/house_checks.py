"""The checks of all code: linter, formatter, import directions and types. They run in the background of the tests."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
CHECKS: Final = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "import-linter": ["lint-imports"],
    "mypy": [sys.executable, "-m", "mypy", "app", "graphql_schema", "stores", "tests"],
}
TIMEOUT_SECONDS: Final = 600
THREAD: Final = "house checks"
"""The name of the thread that runs the checks."""


class HouseChecks:
    """Runs all checks, one after another, in a thread; a file of the folder has the complaints of each, or is empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Start the checks, unless they have been started."""
        if self._thread.ident is None:
            self._thread.start()

    def complaints(self, name: str) -> str:
        """Wait for a check that this or another process has begun, and return its complaints."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (self.folder / name).exists():
            if time.monotonic() > deadline:
                return f"{name} has not ended"
            time.sleep(0.1)
        return (self.folder / name).read_text()

    def stop(self) -> None:
        """Stop the checks, if they run."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        for name, command in CHECKS.items():
            if self._stopping.is_set():
                return
            tool = Path(sys.executable).parent / command[0]
            unfinished = self.folder / "unfinished"
            unfinished.write_text(self._complaints(name, [str(tool) if tool.exists() else command[0], *command[1:]]))
            unfinished.rename(self.folder / name)

    def _complaints(self, name: str, command: list[str]) -> str:
        try:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        except OSError as error:
            return f"{name} cannot start: {error}"
        output, _ = self._process.communicate()
        if self._process.returncode == 0:
            return ""
        return output or f"{name} ended with {self._process.returncode}"
