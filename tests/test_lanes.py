"""Tests of the test run itself: its one mongod, the databases that tests reuse, and the fast lane."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pymongo import MongoClient

from tests.app.command import ROOT, eventually, is_alive, mongod_pid
from tests.database_pool import DatabasePool
from tests.house_checks import THREAD
from tests.lanes import GUARD, SLOW
from tests.shared_by_workers import GIVEN
from tests.waiting import TIMEOUT

PROBE = """
import os, time
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_address(mongodb_uri, number):
    folder = Path(__file__).parent
    unfinished = folder / f"unfinished-{os.getpid()}"
    unfinished.write_text(mongodb_uri)
    unfinished.rename(folder / f"uri-{os.getpid()}")
    while len(list(folder.glob("uri-*"))) < int(os.environ["WORKERS"]) or (folder / "wait").exists():
        time.sleep(0.05)
"""

AS_FROM_A_TERMINAL = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""
"""A program that runs pytest and obeys SIGINT, which a process ignores if a script or nohup started it."""


@contextmanager
def run_of_workers(folder: Path, workers: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run tests in so many workers; they write the URI of their server into the folder."""
    (folder / "test_probe.py").write_text(PROBE)
    options = [
        "-n",
        str(workers),
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        "-c",
        "pyproject.toml",
        "--rootdir",
        ".",
    ]
    inherited = {key: value for key, value in os.environ.items() if key != GIVEN and not key.startswith("PYTEST_")}
    with subprocess.Popen(
        [sys.executable, "-c", AS_FROM_A_TERMINAL, "-q", *options, str(folder / "test_probe.py")],
        cwd=ROOT,
        env={**inherited, "WORKERS": str(workers)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        try:
            yield run
        finally:
            if run.poll() is None:
                run.kill()


def uris(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("uri-*")]


def folder_of(uri: str) -> Path:
    """Return the data folder of the mongod with this URI."""
    return Path(unquote(urlsplit(uri).netloc)).parent


def test_workers_share_one_mongod_that_ends_with_the_run(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    with run_of_workers(tmp_path, 2) as run:
        assert eventually(lambda: len(uris(tmp_path)) == 2 or run.poll() is not None)
        mongod = mongod_pid(folder_of(uris(tmp_path)[0]))
        was_alive = is_alive(mongod)
        (tmp_path / "wait").unlink()
        code = run.wait(TIMEOUT)

    assert (code, was_alive) == (0, True)
    assert len(set(uris(tmp_path))) == 1
    assert not is_alive(mongod)


def test_mongod_ends_with_a_run_that_is_killed_or_interrupted(tmp_path: Path) -> None:
    killed = stopped_run(tmp_path / "killed", signal.SIGKILL)
    assert killed.exists()
    os.utime(killed, (0, 0))  # as if the run had been killed an hour ago

    interrupted = stopped_run(tmp_path / "interrupted", signal.SIGINT)

    assert not killed.exists()  # the second run has deleted it
    assert eventually(lambda: not interrupted.exists())


def stopped_run(folder: Path, number: signal.Signals) -> Path:
    """Run tests, stop them by a signal and wait until their mongod has ended; return the folder of its data."""
    folder.mkdir()
    (folder / "wait").touch()
    with run_of_workers(folder, 1) as run:
        assert eventually(lambda: len(uris(folder)) == 1 or run.poll() is not None)
        data = folder_of(uris(folder)[0])
        mongod = mongod_pid(data)
        os.killpg(run.pid, number) if number is signal.SIGINT else run.send_signal(number)
        run.wait(TIMEOUT)
    assert eventually(lambda: not is_alive(mongod))
    return data


def run_python() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def spawn() -> None:
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()


@pytest.mark.parametrize("start", [run_python, spawn])
def test_test_of_the_fast_lane_that_starts_a_process_fails(start: Callable[[], None]) -> None:
    with (
        pytest.raises(AssertionError, match="some test is in the fast lane but starts"),
        GUARD.during("some test"),
        contextlib.suppress(Exception),  # as LoomQL may do
    ):
        start()
    start()
    with GUARD.during("another test"):
        pass


def test_checks_of_all_code_may_start_during_a_test_of_the_fast_lane() -> None:
    with GUARD.during("some test"):
        checks = threading.Thread(target=run_python, name=THREAD)
        checks.start()
        checks.join()


def test_fast_lane_has_many_tests_and_none_of_other_lanes(request: pytest.FixtureRequest) -> None:
    fast = [item.nodeid for item in request.session.items if item.get_closest_marker("fast")]

    others = ("tests/faults/", "tests/browser/", "tests/clients/", "tests/test_house.py", "tests/app/commands/")
    assert [name for name in fast if name.startswith(others)] == []
    if request.session.testscollected > 9_000:  # the whole suite
        assert len(fast) > 5_000


@pytest.mark.parametrize("name", SLOW)
def test_slow_test_exists(name: str) -> None:
    path, _, test = name.partition("::")

    assert (ROOT / path).exists()
    assert not test or f"def {test}(" in (ROOT / path).read_text()


def test_database_whose_views_were_dropped_is_reused_without_their_catalog(
    databases: DatabasePool, mongodb_uri: str
) -> None:
    name = databases.take()
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client[name].create_collection("some", viewOn="calls")
        client[name].drop_collection("some")
        client[name].drop_collection("calls")
        databases.release(name)

        assert "system.views" not in client[name].list_collection_names()
