"""Tests of the doctor: each finding has a level, and each problem has a fix."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from app.commands import diagnostics
from app.commands.diagnostics import _version, examine
from app.commands.findings import Finding, Level
from app.embedded_mongod import embedded_mongod, find_mongod
from app.pages import EXPLORER, GRAPHIQL, Page
from app.settings import Settings, variable
from tests.app.command import loomql, serving
from tests.free_ports import free_port

if TYPE_CHECKING:
    from app.mongodb import Client


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable(field), raising=False)


def findings(settings: Settings, **flags: str) -> dict[str, Finding]:
    """Return the doctor's findings by subject; the last one wins if two share a subject."""
    return {finding.subject: finding for finding in examine(settings, flags)}


def test_first_start_reports_no_problem_and_changes_nothing(data_dir: Path) -> None:
    found = findings(Settings(data_dir=data_dir, mongod_cache_gb=0.25, port=free_port()))

    assert {finding.level for name, finding in found.items() if name not in {"pages", "disk"}} == {Level.OK}
    assert "will be created" in found["data folder"].text
    assert "it starts in" in found["embedded MongoDB"].text
    assert "is free" in found["port"].text
    assert not data_dir.exists()


def test_running_mongod_is_queried_directly(data_dir: Path) -> None:
    with embedded_mongod(data_dir, cache_gb=0.25):
        found = findings(Settings(data_dir=data_dir, port=0))

    assert found["data folder"].text == f"in use by LoomQL, process {os.getpid()}"
    assert "answers in" in found["database"].text
    assert found["topology"] == Finding(
        Level.OK, "topology", f"replica set loomql, primary {data_dir.resolve() / 'm.sock'}"
    )
    assert found["indexes"].level is Level.WARNING
    assert "`loomql serve` builds them" in found["indexes"].text


@pytest.fixture
def lone_server(data_dir: Path) -> Iterator[str]:
    """Yield the URI of a real mongod that is not in a replica set."""
    data_dir.mkdir()
    port = free_port()
    command = [str(find_mongod()), "--dbpath", str(data_dir), "--port", str(port), "--bind_ip", "127.0.0.1"]
    process = subprocess.Popen([*command, "--wiredTigerCacheSizeGB", "0.25"], stdout=subprocess.DEVNULL)
    with process:
        yield f"mongodb://127.0.0.1:{port}/"
        process.terminate()


def test_standalone_mongod_is_a_problem_and_is_not_served(lone_server: str) -> None:
    found = findings(Settings(mongodb_uri=lone_server, port=0, database_timeout_seconds=30))
    served = loomql("serve", "--port", "0", LOOMQL_MONGODB_URI=lone_server, LOOMQL_DATABASE_TIMEOUT_SECONDS="30")

    assert found["MongoDB"].level is Level.OK
    assert found["topology"].level is Level.PROBLEM
    assert "is a standalone server" in found["topology"].text
    assert "make it a replica set of one member (--replSet and replSetInitiate)" in found["topology"].text
    assert (served.returncode, served.stdout) == (1, "")
    assert "this MongoDB is a standalone server" in served.stderr


class Untested:
    """A fake client that answers like version 8, for which the tests have no package."""

    def server_info(self) -> dict[str, object]:
        return {"version": "8.0.4"}


def test_untested_version_is_a_warning() -> None:
    client = cast("Client", Untested())

    assert _version(client) == Finding(Level.WARNING, "MongoDB", "version 8.0.4; LoomQL is tested on 6.0 and 7.0 only.")


def test_serving_loomql_and_its_indexes_are_recognised(data_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir)) as server:
        port = int(server.url.removesuffix("/graphql").rpartition(":")[2])
        found = findings(Settings(data_dir=data_dir, port=port))

    assert found["indexes"] == Finding(Level.OK, "indexes", "all exist")
    assert found["port"] == Finding(Level.OK, "port", f"LoomQL answers on 127.0.0.1 port {port}")


def test_port_in_use_by_another_program_is_a_problem(mongodb_uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = findings(Settings(mongodb_uri=mongodb_uri, port=other.getsockname()[1]))

    assert found["port"].level is Level.PROBLEM
    assert "another --port" in found["port"].text


def test_unreachable_database_is_a_problem_without_its_password() -> None:
    uri = "mongodb://user:secret@127.0.0.1:1/"
    found = findings(Settings(mongodb_uri=uri, database_timeout_seconds=0.3, port=0))

    assert found["database"].level is Level.PROBLEM
    assert "mongodb://user:***@127.0.0.1:1/" in found["database"].text
    assert "secret" not in "".join(finding.text for finding in found.values())


def test_missing_binary_is_a_problem_with_fixes(data_dir: Path) -> None:
    found = findings(Settings(data_dir=data_dir, mongod=Path("nowhere"), port=0))

    assert found["mongod"].level is Level.PROBLEM
    assert "LOOMQL_MONGODB_URI" in found["mongod"].text
    assert "embedded MongoDB" not in found


def test_file_at_the_data_folder_path_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    levels = {
        finding.level
        for finding in examine(Settings(data_dir=tmp_path / "data", mongod_cache_gb=0.25, port=0), {})
        if finding.subject == "data folder"
    }

    assert levels == {Level.PROBLEM}


def test_setting_sources_are_shown_and_misspelt_ones_found(mongodb_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMQL_HOST", "127.0.0.1")
    monkeypatch.setenv("LOOMQL_WORKRES", "2")
    monkeypatch.setenv("LOOMQL_COLOUR_OF_THE_YARN", "red")
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)

    found = findings(Settings(port=0), port="0")

    assert found["LOOMQL_HOST"].text == "127.0.0.1 (the environment)"
    assert found["LOOMQL_PORT"].text == "0 (the command line)"
    assert found["LOOMQL_WORKERS"].text == "1 (default)"
    assert found["LOOMQL_WORKRES"] == Finding(
        Level.WARNING, "LOOMQL_WORKRES", "is set but is not a setting: did you mean LOOMQL_WORKERS?"
    )
    assert "`loomql settings` lists" in found["LOOMQL_COLOUR_OF_THE_YARN"].text


def test_missing_bundles_of_pages_are_a_warning(
    mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in (EXPLORER, GRAPHIQL):
        monkeypatch.setattr(diagnostics, page.name.upper(), Page(page.name, page.title, {}, tmp_path))

    def found(*, explorer: bool = True, graphiql: bool = True) -> Finding:
        return findings(Settings(mongodb_uri=mongodb_uri, port=0, explorer=explorer, graphiql=graphiql))["pages"]

    missing, off = found(), found(explorer=False, graphiql=False)
    (tmp_path / "explorer").mkdir()
    (tmp_path / "explorer" / "index.html").write_text("")
    half, without_graphiql = found(), found(graphiql=False)

    assert [each.level for each in (missing, half, without_graphiql, off)] == [
        Level.WARNING,
        Level.WARNING,
        Level.OK,
        Level.OK,
    ]
    assert "The Explorer and GraphiQL" in missing.text
    assert "LOOMQL_SKIP_PAGES" in missing.text
    assert "The Explorer" not in half.text
    assert without_graphiql.text == "The Explorer is installed"
    assert "LOOMQL_EXPLORER" in off.text


def test_doctor_prints_each_finding_and_exits_nonzero_on_problems(mongodb_uri: str, database_name: str) -> None:
    well = loomql("doctor", "--port", "0", LOOMQL_MONGODB_URI=mongodb_uri, LOOMQL_MONGODB_DATABASE=database_name)
    ill = loomql("doctor", LOOMQL_MONGODB_URI="mongodb://127.0.0.1:1/", LOOMQL_DATABASE_TIMEOUT_SECONDS="0.3")

    assert (well.returncode, well.stderr) == (0, "")
    assert {line.split()[0] for line in well.stdout.splitlines()} <= {"ok", "warning"}
    assert "\x1b" not in well.stdout
    assert ill.returncode == 1
    assert "problem database:" in ill.stdout
