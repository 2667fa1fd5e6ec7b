"""Tests of processes that are forked from one that has imported LoomQL."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import forking
from tests.lanes import GUARD

STATE = """
import json, os, random, sys, threading
state = {"x": os.environ, "folder": os.getcwd(), "threads": threading.active_count(), "chance": random.random()}
state["files"] = [file for file in range(3, 100) if os.path.exists(f"/dev/fd/{file}")]
state["main"] = sys.modules["__main__"].__spec__.name
print(json.dumps(state, default=dict))
"""


@contextmanager
def started(folder: Path, module: str, *arguments: str, **environment: str) -> Iterator[forking.ForkedProcess]:
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        process = forking.start(module, arguments, environment, output, errors)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_module_gets_its_arguments_and_its_output_and_exit_code_are_returned(tmp_path: Path) -> None:
    (tmp_path / "invalid").write_text("}")

    with started(tmp_path, "json.tool", str(tmp_path / "invalid")) as process:
        code = process.wait(60)

    assert (code, process.poll(), process.returncode) == (1, 1, 1)
    assert (tmp_path / "output").read_bytes() == b""
    assert (tmp_path / "errors").read_text().startswith("Expecting value")


def test_processes_differ_only_in_their_randomness(tmp_path: Path) -> None:
    states = []
    for _ in range(2):
        with started(tmp_path, "timeit", "-n1", "-r1", STATE, GIVEN="1") as process:
            assert process.wait(60) == 0
        states.append(json.loads((tmp_path / "output").read_text().splitlines()[0]))

    chances = {state.pop("chance") for state in states}
    assert len(chances) == 2
    expected = {"x": {"GIVEN": "1"}, "folder": str(forking.ROOT), "threads": 1, "files": [], "main": "timeit"}
    assert states == [expected, expected]


def test_running_process_can_be_waited_for_and_killed(tmp_path: Path) -> None:
    with started(tmp_path, "timeit", "import time; time.sleep(60)") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        running = process.poll()
        process.send_signal(signal.SIGKILL)

        assert running is None
        assert process.wait(60) == -signal.SIGKILL


def test_test_of_the_fast_lane_that_forks_a_process_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="some test is in the fast lane but starts"),
        GUARD.during("some test"),
        contextlib.suppress(Exception),
        started(tmp_path, "this"),
    ):
        pass


def test_signal_to_a_process_whose_end_is_not_known_yet_is_ignored() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    ended, ends = os.pipe()

    forking.ForkedProcess([], gone.pid, ended).terminate()

    os.close(ended)
    os.close(ends)
