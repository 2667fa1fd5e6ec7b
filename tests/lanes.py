"""The fast lane: tests of behaviour that `pytest -m fast` runs in under two minutes, with mongod as the only process.

A test is in the fast lane by its place: in a folder of FOLDERS, unless its file imports a name of STARTERS, or it or
one of its fixtures uses a fixture of SERVERS, or its name begins with a line of slow_tests.txt. A test of the fast lane
that starts a process fails.
"""

import _posixsubprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest

from tests import house_checks

ROOT: Final = Path(__file__).parent.parent
FOLDERS: Final = ("tests/stores/", "tests/graphql_schema/", "tests/app/")
STARTERS: Final = frozenset(
    {"live_server", "serving", "loomql", "subprocess", "multiprocessing", "embedded_mongod", "python", "free_port"}
)
"""Names of helpers and modules that start servers or processes."""

SERVERS: Final = frozenset(
    {"own_mongodb_uri", "shared_server", "keyed", "receiver", "exporting", "url", "loaded", "node", "sdks"}
)
"""Fixtures that start servers, or load the demo."""

SLOW: Final = tuple((ROOT / "tests" / "slow_tests.txt").read_text().split())
"""Beginnings of the names of tests that take more than 0.3 seconds, as `pytest --durations 0` shows."""

_STARTS: Final = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})
_FORK_EXEC: Final = _posixsubprocess.fork_exec


def may_be_fast(path: Path) -> bool:
    """Return whether a file or folder may contain tests of the fast lane."""
    name = str(path.relative_to(ROOT)) + ("/" if path.is_dir() else "") if path.is_relative_to(ROOT) else ""
    return any(name.startswith(folder) or folder.startswith(name) for folder in FOLDERS)


def is_fast(item: pytest.Item) -> bool:
    """Return whether a test belongs to the fast lane."""
    return (
        item.nodeid.startswith(FOLDERS)
        and not item.nodeid.startswith(SLOW)
        and STARTERS.isdisjoint(vars(getattr(item, "module", None) or object))
        and SERVERS.isdisjoint(getattr(item, "fixturenames", ()))
    )


class ProcessGuard:
    """Fails a test of the fast lane that starts a process other than mongod."""

    def __init__(self) -> None:
        self._running: str | None = None
        self._violation: AssertionError | None = None
        sys.addaudithook(self._check)  # which can never be removed

    @contextmanager
    def during(self, test: str) -> Iterator[None]:
        """Refuse to start processes other than mongod in the block.

        The end of the block fails, too, because LoomQL may catch the first error.
        """
        self._running, self._violation = test, None
        try:
            with patch.object(_posixsubprocess, "fork_exec", self._fork_exec):
                yield
        finally:
            self._running = None
            if self._violation is not None:
                raise self._violation

    def _check(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _STARTS and not _is_mongod(arguments):
            self._refuse(arguments)

    def _fork_exec(self, *arguments: Any) -> Any:
        """Stand in for the function by which multiprocessing starts processes, which raises no audit event.

        `subprocess` has its own reference to that function.
        """
        self._refuse(arguments)
        return _FORK_EXEC(*arguments)

    def _refuse(self, arguments: tuple[object, ...]) -> None:
        if self._running is not None and threading.current_thread().name != house_checks.THREAD:
            message = f"{self._running} is in the fast lane but starts a process: {arguments}"
            self._violation = AssertionError(message)
            raise self._violation


def _is_mongod(arguments: tuple[object, ...]) -> bool:
    command = arguments[1] if len(arguments) > 1 else ()
    return isinstance(command, list) and any(Path(str(word)).name == "mongod" for word in command)


GUARD: Final = ProcessGuard()
