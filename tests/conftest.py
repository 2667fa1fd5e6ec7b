"""Fixtures for all tests: one MongoDB per run, of the topology in LOOMQL_TEST_TOPOLOGY, and one database per test."""

import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from itertools import filterfalse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient
from xdist.scheduler import LoadFileScheduling

from app.providers import EnvironmentProviders
from app.providers.secrets import parse_hosts
from stores.calls import CallsStore
from stores.database import Database, Document
from stores.database.driver import ControlClient, TrackingPool, chosen_server
from stores.objects import ObjectsStore
from stores.timings import DEFAULT_TIMINGS, Timings
from tests import lanes
from tests.chance import IS_USUAL, cases
from tests.commands import Commands, Overheard
from tests.database_pool import DatabasePool
from tests.folders import delete_abandoned_folders, short_folder
from tests.installation import FOR_FIXTURE
from tests.node import NODE, PAGES, Node
from tests.requirements import go_without, skips_by_reason
from tests.shared_by_workers import (
    GIVEN,
    TOPOLOGY,
    house_checks,
    input_of_worker,
    is_worker,
    shared_mongodb_uri,
    temporary_mongodb,
)
from tests.stand_in_provider import KEY, Reply, StandIn, stand_in_server

CLIENTS_REQUIRED = "LOOMQL_REQUIRE_CLIENTS"
_HOUSE = "tests/test_house.py"
_WAITING = (
    "tests/faults/",
    "tests/topologies/",
    "tests/browser/",
    "tests/attacks/",
    "tests/load/",
    "tests/test_lanes.py",
    "tests/test_mongodb_7.py",
    "tests/clients/",
    "tests/explorer/",
    "tests/app/",
    "tests/conformance/",
)
"""Path prefixes of tests that start processes or wait for them: the longest first, then those of installations."""

_LONG = (
    "tests/stores/rollups/",
    "tests/stores/terms/",
    "tests/stores/trace_lists/",
    "tests/stores/threads/",
    "tests/graphql_schema/permissions/",
    "tests/graphql_schema/test_single_fields.py",
    "tests/fuzz/",
)
"""Path prefixes of tests that compute for up to a minute per file; they come before the others that compute."""

_TOGETHER = ("tests/topologies/", "tests/browser/test_explorer", "tests/browser/")
"""Path prefixes of tests that one worker runs one after another, since they share a cluster or a server with a demo."""

_END_OF_WAITING = 0.8
"""The part of the run that has begun when the last file of _WAITING begins."""


# Container images often disable bytecode files. Each of the hundred servers and commands that the tests start would
# then compile all of LoomQL again, which takes half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


# Other processes slow the machine down, so a slow test case does not mean a fault in LoomQL.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=IS_USUAL,
    max_examples=cases(100),
)
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the markers."""
    config.addinivalue_line("markers", f"fast: {lanes.__doc__}")
    config.addinivalue_line(
        "markers", "not_on(topology, reason): A value of LOOMQL_TEST_TOPOLOGY, and what fails there."
    )
    config.addinivalue_line("markers", "timings(**seconds): Fields that differ in the fixture `timings`.")
    config.addinivalue_line("markers", "server_settings(**settings): The settings of the server that tests share.")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the fast lane in two processes, unless `-n` or a debugger is asked for."""
    option = config.option
    is_alone = getattr(option, "numprocesses", 0) is None and not is_worker(config)
    if option.markexpr == "fast" and is_alone and not option.usepdb:
        option.numprocesses = 2


def pytest_sessionstart(session: pytest.Session) -> None:
    """Delete the databases that killed runs left in memory."""
    if not is_worker(session.config):
        delete_abandoned_folders()


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let each worker import its own part of all tests first; the others then find them compiled.

    Without this, all workers of the first run compile the tests in one order at the same time, five seconds each.
    """
    config = session.config
    if not is_worker(config) or config.args_source != config.ArgsSource.TESTPATHS or config.option.markexpr:
        return
    number, count = int(config.workerinput["workerid"][2:]), config.workerinput["workercount"]  # type: ignore[attr-defined] # as in `is_worker`
    folders = [folder for folder in Path(__file__).parent.iterdir() if folder.name != "node_modules"]
    for path in sorted(path for folder in folders for path in folder.rglob("test_*.py"))[number::count]:
        with suppress(Exception):  # the collection imports it again, and reports the error
            import_module(".".join(path.relative_to(config.rootpath).with_suffix("").parts))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files without tests of the fast lane if only the fast lane runs."""
    return True if config.option.markexpr == "fast" and not lanes.may_be_fast(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test of the fast lane whose fixtures start a process."""
    return (yield from _guarded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test of the fast lane that starts a process."""
    return (yield from _guarded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test of the fast lane whose fixtures start a process when they end."""
    return (yield from _guarded(item))


def _guarded(item: pytest.Item) -> Generator[None, object, object]:
    if item.get_closest_marker("fast") is None:
        return (yield)
    with lanes.GUARD.during(item.nodeid):
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send a new worker of pytest-xdist the addresses of what all workers share."""
    node.workerinput.update(input_of_worker(node.config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Give the files that share an expensive fixture to one worker."""
    return _ByFixtures(config, log) if config.option.dist == "loadfile" else None


class _ByFixtures(LoadFileScheduling):  # type: ignore[misc] # it comes without types
    """Gives a worker one file at a time, or all files of a prefix of `_TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(super()._split_scope(nodeid))


def _group(file: str) -> str:
    """Return what one worker runs: a file, or the first prefix of `_TOGETHER` that it has."""
    return next(filter(file.startswith, _TOGETHER), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Start the checks of all code in this process, if workers have a test that waits for them."""
    if any(test.startswith(_HOUSE) for test in ids):
        house_checks(node.config).begin()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the fast lane, and order the files for several workers.

    Files whose tests wait are spread among those that compute, so that the processors are busy all the time. The last
    ones are short, because only one worker is busy at the end otherwise. The tests that wait for the checks of all code
    come last.
    """
    for item in items:
        if TOPOLOGY == "single" and lanes.is_fast(item):
            item.add_marker("fast")
        for mark in item.iter_markers("not_on"):
            if mark.args[0] == TOPOLOGY:
                item.add_marker(pytest.mark.skip(reason=mark.kwargs["reason"]))
    files = dict.fromkeys(_group(item.nodeid.partition("::")[0]) for item in items)
    waiting = sorted(filter(_waits, files), key=lambda file: [not file.startswith(each) for each in _WAITING])
    computing = sorted(filterfalse(_waits, files), key=lambda file: not file.startswith(_LONG))
    place = {file: number / len(computing) for number, file in enumerate(computing)}
    place |= {file: _END_OF_WAITING * number / len(waiting) for number, file in enumerate(waiting)}
    items.sort(key=lambda item: (item.nodeid.startswith(_HOUSE), place[_group(item.nodeid.partition("::")[0])]))


def _waits(file: str) -> bool:
    return file.startswith(_WAITING)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the installations and checks that the collected tests need, because some take a minute."""
    gc.freeze()  # otherwise the garbage collector scans all modules again and again
    for fixture in {name for item in session.items for name in getattr(item, "fixturenames", ())}:
        for installation in FOR_FIXTURE.get(fixture, ()):
            installation.begin()
    if not is_worker(session.config) and any(item.nodeid.startswith(_HOUSE) for item in session.items):
        house_checks(session.config).begin()


def pytest_sessionfinish() -> None:
    """Stop the installations that still run."""
    for installations in FOR_FIXTURE.values():
        for installation in installations:
            installation.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print why tests were skipped: one line for each reason, with the command that brings what is missing."""
    if lines := skips_by_reason(terminalreporter.stats.get("skipped", ())):
        terminalreporter.section("skipped tests, by reason")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def node() -> Node:
    """Return Node with the packages of `package.json`.

    Skip the test if they cannot be installed; fail it if LOOMQL_REQUIRE_CLIENTS is 1.
    """
    if problem := NODE.finish():
        go_without(f"tests/package.json cannot be installed: {problem[:500]}", CLIENTS_REQUIRED)
    return NODE


@pytest.fixture(scope="session")
def pages_packages() -> None:
    """Install the npm packages that the pages import.

    Skip the test if they cannot be installed; fail it if LOOMQL_REQUIRE_CLIENTS is 1.
    """
    if problem := PAGES.finish():
        go_without(f"app/package.json cannot be installed: {problem[:500]}", CLIENTS_REQUIRED)


@pytest.fixture(scope="session")
def mongodb_uri(pytestconfig: pytest.Config) -> str:
    """Return the URI of the server that all tests share: in LOOMQL_TEST_MONGODB_URI, or one for this run."""
    return shared_mongodb_uri(pytestconfig)


@pytest.fixture(scope="module")
def own_mongodb_uri() -> Iterator[str]:
    """Start a MongoDB for the tests of one file that read or change the state of the whole server.

    A server in LOOMQL_TEST_MONGODB_URI is used instead; then no other tests may run beside these.
    """
    if given := os.environ.get(GIVEN):
        yield given
        return
    with temporary_mongodb(cache_gb=0.25) as uri:
        yield uri


@pytest.fixture(scope="module")
def frozen_heap() -> None:
    """Let the garbage collector ignore all objects of earlier tests, so that gc.collect() takes milliseconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Yield the short path of a data folder that does not exist yet; socket paths must be short."""
    with short_folder() as parent:
        yield parent / "data"


@pytest.fixture(scope="session")
def databases(mongodb_uri: str) -> Iterator[DatabasePool]:
    """Yield the pool of databases of this run."""
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        pool = DatabasePool(client)
        yield pool
        pool.close()


@pytest.fixture
def database_name(databases: DatabasePool) -> Iterator[str]:
    """Yield the name of an empty database, with indexes, that only this test uses."""
    name = databases.take()
    yield name
    databases.release(name)


_Clients = tuple[AsyncIOMotorClient[Document], MongoClient[Document], Overheard]


@pytest.fixture(scope="session")
async def _clients(mongodb_uri: str) -> AsyncIterator[_Clients]:
    """Yield the two clients of all databases, and the listener on the first; connecting takes longer than most tests.

    They lack the app name of servers: a server ends idle transactions of that name, and a test may keep one open.
    """
    overheard = Overheard()
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
        mongodb_uri, _pool_class=TrackingPool, event_listeners=[overheard]
    )
    with MongoClient[Document](mongodb_uri, server_selector=chosen_server) as control:
        yield client, control, overheard
    client.close()


@pytest.fixture
def commands() -> Commands:
    """Return the commands that `database` sent, in order."""
    return Commands()


@pytest.fixture
def timings(request: pytest.FixtureRequest) -> Timings:
    """Return the timings of a server, with the fields in marks of the test and its module; `database` has them."""
    marks = reversed(list(request.node.iter_markers("timings")))
    return replace(DEFAULT_TIMINGS, **{name: value for mark in marks for name, value in mark.kwargs.items()})


@pytest.fixture
def database(_clients: _Clients, database_name: str, commands: Commands, timings: Timings) -> Iterator[Database]:
    """Yield an empty database with indexes, whose commands are recorded."""
    client, control, overheard = _clients
    with overheard.by(database_name, commands):
        yield Database(client, database_name, control_client=ControlClient(control, database_name), timings=timings)


@pytest.fixture
def calls(database: Database) -> CallsStore:
    """Return a store of calls in `database`."""
    return CallsStore(database)


@pytest.fixture
def objects(database: Database) -> ObjectsStore:
    """Return a store of objects and ops in `database`."""
    return ObjectsStore(database)


@pytest.fixture(scope="session")
def _new_stand_in() -> Iterator[Callable[[Reply | None], StandIn]]:
    """Start the server of all stand-ins; to stop one takes longer than most tests."""
    with stand_in_server() as begin:
        yield begin


@pytest.fixture
def stand_in(_new_stand_in: Callable[[Reply | None], StandIn]) -> StandIn:
    """Return a fake model provider on the loopback interface that has received nothing yet."""
    return _new_stand_in(None)


@pytest.fixture
async def providers(stand_in: StandIn) -> AsyncIterator[EnvironmentProviders]:
    """Yield the server's port to providers, with the stand-in in place of OpenAI."""
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": stand_in.base_url}
    port = EnvironmentProviders(environment, gateways=parse_hosts(stand_in.base_url))
    yield port
    await port.close()
