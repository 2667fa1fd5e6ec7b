"""Tests of the command in separate processes: output, exit codes and remaining files and processes."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient

from app.embedded_mongod import DataFolder
from app.settings import markdown_table, table
from graphql_schema.schema import sdl
from tests.app.command import ROOT, eventually, is_alive, loomql, mongod_pid, run_in_process, serving, start
from tests.waiting import TIMEOUT

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a mongod with its parent")


def answers(url: str, project_id: str) -> bool:
    query = f'{{ calls(projectId: "{project_id}", first: 1) {{ totalCount }} }}'
    return "errors" not in httpx.post(url, json={"query": query}, timeout=TIMEOUT).json()


def total_count(url: str, project_id: str) -> int:
    query = f'{{ calls(projectId: "{project_id}", first: 1) {{ totalCount }} }}'
    answer = httpx.post(url, json={"query": query}, timeout=TIMEOUT).json()
    count: int = answer["data"]["calls"]["totalCount"]
    return count


@pytest.mark.parametrize("arguments", [(), ("sing",), ("serve", "--port", "http"), ("demo", "--workers", "2")])
def test_wrong_usage_exits_with_2_and_prints_usage(arguments: tuple[str, ...]) -> None:
    done = run_in_process(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: loomql")


def test_settings_prints_every_setting_in_both_forms() -> None:
    plain, markdown = run_in_process("settings"), run_in_process("settings", "--markdown")

    assert (plain.returncode, markdown.returncode) == (0, 0)
    assert [line.split()[0] for line in plain.stdout.splitlines()] == [row.variable for row in table()]
    assert markdown.stdout == f"{markdown_table()}\n"


def test_schema_prints_the_sdl() -> None:
    done = loomql("schema")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == sdl().strip()


def test_closed_output_pipe_causes_no_traceback() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "schema"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with command:
        assert command.stdout is not None
        command.stdout.close()
        assert command.stderr is not None
        errors = command.stderr.read()

    assert (command.returncode, errors) == (1, b"")


def test_bad_setting_is_one_plain_line_without_the_secret() -> None:
    done = run_in_process("doctor", LOOMQL_PORT="99999", LOOMQL_MONGODB_URI="http://user:secret@host")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "LOOMQL_PORT: Input should be less than or equal to 65535 (it is '99999')" in done.stderr
    assert "LOOMQL_MONGODB_URI: must start with mongodb://" in done.stderr
    assert "secret" not in done.stderr


def test_invalid_flag_is_named_as_typed() -> None:
    done = run_in_process("serve", "--port", "99999", LOOMQL_PORT="8000", LOOMQL_MONGODB_DATABASE="a.b")

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "--port: Input should be less than or equal to 65535 (it is '99999')" in done.stderr
    assert "LOOMQL_PORT" not in done.stderr
    assert "LOOMQL_MONGODB_DATABASE: must be 1 to 63 bytes long, without spaces and without any of /" in done.stderr


def test_version_option_prints_the_version() -> None:
    done = run_in_process("--version")

    assert (done.returncode, done.stdout.split()[0]) == (0, "loomql")


@pytest.mark.parametrize("uri", ["mongodb://user:se@c:re/t@host/", "mongodb://user:secret%@host/"])
def test_unescaped_password_error_says_what_to_change_and_hides_it(uri: str) -> None:
    done = run_in_process("serve", "--port", "0", LOOMQL_MONGODB_URI=uri)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("loomql: LOOMQL_MONGODB_URI: percent-encode every character of the user name")
    assert "@ is %40" in done.stderr
    assert not any(part in done.stderr for part in ("secret", "re/t", "se@c"))


@pytest.mark.parametrize(("level", "lines"), [("info", 0), ("debug", 1)])
def test_request_is_logged_only_by_a_server_that_logs_everything(tmp_path: Path, level: str, lines: int) -> None:
    away = {"LOOMQL_MONGODB_URI": "mongodb://127.0.0.1:9/", "LOOMQL_DATABASE_TIMEOUT_SECONDS": "1"}
    with serving(tmp_path / "out", LOOMQL_LOG_LEVEL=level, LOOMQL_KEYS="off", **away) as server:
        assert httpx.get(server.url + "?query={__typename}", timeout=TIMEOUT).json()["data"] == {"__typename": "Query"}
        server.stop()
        output = server.output.read_text()

    assert output.count('"GET /graphql?*** ') == lines


def test_serve_without_its_database_says_that_it_is_not_ready(tmp_path: Path) -> None:
    away = {"LOOMQL_MONGODB_URI": "mongodb://127.0.0.1:1/", "LOOMQL_DATABASE_TIMEOUT_SECONDS": "0.5"}
    with serving(tmp_path / "out", **away) as server:
        output = server.output.read_text()

    assert "LoomQL is up, but not ready: the database did not answer within 0.5 s. It keeps trying.\n" in output


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGTERM, 2), (signal.SIGINT, 2)])
def test_serve_prints_its_address_and_stops_cleanly(
    number: signal.Signals, workers: int, data_dir: Path, tmp_path: Path
) -> None:
    # given
    with serving(tmp_path / "out", "--data-dir", str(data_dir), "--workers", str(workers)) as server:
        mongod = mongod_pid(data_dir)
        # when
        health = httpx.get(server.url.replace("/graphql", "/healthz"), timeout=TIMEOUT)
        count = total_count(server.url, "acme/chat")
        code = server.stop(number)
    # then
    output = server.output.read_text()
    assert (health.json(), count) == ({"status": "ok"}, 0)
    assert re.search(
        r"LoomQL is up\.\n +Explorer +http://127\.0\.0\.1:\d+/\n +GraphiQL +http://127\.0\.0\.1:\d+/graphql\n", output
    )
    assert f"Data      {data_dir} (embedded MongoDB" in output
    assert code == 0
    assert "Traceback" not in output
    assert not is_alive(mongod)
    assert (data_dir / "db" / "mongod.lock").read_text() == ""  # mongod empties it in a clean shutdown
    assert not server.accepts()


def test_signal_during_startup_stops_cleanly(data_dir: Path, tmp_path: Path) -> None:
    # given
    output = tmp_path / "out"
    process = start(output, "serve", "--demo", "--port", "0", "--data-dir", str(data_dir))
    lock = data_dir / "db" / "mongod.lock"
    assert eventually(lambda: lock.exists() and lock.read_text() != "")
    mongod = mongod_pid(data_dir)
    # when
    process.terminate()
    # then
    assert process.wait(60) == 0
    assert not is_alive(mongod)
    assert "LoomQL is up" not in output.read_text()
    assert "Traceback" not in output.read_text()


@on_linux
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_serve_leaves_no_process_and_its_folder_opens_again(
    workers: int, data_dir: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir), "--workers", str(workers)) as server:
        mongod = mongod_pid(data_dir)
        server.stop(signal.SIGKILL)

        assert eventually(lambda: not is_alive(mongod))
        assert eventually(lambda: not server.accepts())
    with serving(tmp_path / "again", "--data-dir", str(data_dir)) as server:
        assert total_count(server.url, "acme/chat") == 0


def test_requests_work_again_after_mongod_was_killed(data_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir)) as server:
        os.kill(mongod_pid(data_dir), signal.SIGKILL)

        # `/readyz` is no evidence, because it may answer before the process is gone.
        assert eventually(lambda: answers(server.url, "acme/chat"))
        assert total_count(server.url, "acme/chat") == 0


def test_port_in_use_is_reported_before_anything_starts(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = loomql("serve", "--port", str(port), "--data-dir", str(data_dir))

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"Cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "another --port" in done.stderr
    assert not data_dir.exists()


def test_non_local_address_is_refused() -> None:
    done = loomql("serve", "--host", "192.0.2.1")

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "192.0.2.1" in done.stderr
    assert "--host" in done.stderr


def test_second_serve_on_a_folder_is_refused_with_the_pid(data_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir)) as server:
        done = loomql("serve", "--port", "0", "--data-dir", str(data_dir))

        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert f"in use by another LoomQL, process {server.process.pid}" in done.stderr
        assert total_count(server.url, "acme/chat") == 0


def test_uri_setting_starts_no_embedded_mongod(
    mongodb_uri: str, database_name: str, data_dir: Path, tmp_path: Path
) -> None:
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    with serving(tmp_path / "out", "--data-dir", str(data_dir), **own) as server:
        assert total_count(server.url, "acme/chat") == 0
        assert f"(database {database_name})" in server.output.read_text()
    assert not data_dir.exists()


def test_serve_with_demo_loads_calls_once_and_missing_feedback_and_writes_more_calls(
    data_dir: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "out", "--demo", "--data-dir", str(data_dir)) as server:
        bar = re.search(r"([0-9]+)/\1", server.output.read_text())
        assert bar is not None
        assert eventually(lambda: total_count(server.url, "demo/assistant") > int(bar[1]))
        with MongoClient[dict[str, object]](DataFolder(data_dir).uri) as client:
            client["loomql"]["feedback"].delete_many({})
        assert server.stop() == 0
    with serving(tmp_path / "again", "--demo", "--data-dir", str(data_dir)) as server:
        query = """{
          feedback(projectId: "demo/assistant") { totalCount }
          running: calls(projectId: "demo/assistant", filter: { statuses: [RUNNING], traceRootsOnly: true }) {
            totalCount
          }
        }"""
        data = httpx.post(server.url, json={"query": query}, timeout=TIMEOUT).json()["data"]
        output = server.output.read_text()

    assert int(bar[1]) > 1000
    assert data["feedback"]["totalCount"] > 400
    # Four traces of the load, and at most the one that just began: the server that stopped has ended its own.
    assert 4 <= data["running"]["totalCount"] <= 5
    assert "Demo calls into" not in output
    assert "Demo calls into" not in (tmp_path / "again").read_text()


def test_demo_loads_into_a_project_while_a_server_runs(data_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir)) as server:
        done = loomql("demo", "--project", "acme/demo", "--data-dir", str(data_dir))

        assert (done.returncode, done.stderr) == (0, "")
        assert "is in project acme/demo" in done.stdout
        assert total_count(server.url, "acme/demo") > 1000
        assert total_count(server.url, "demo/assistant") == 0


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({"LOOMQL_MONGODB_URI": "mongodb://127.0.0.1:1/"}, (), "the database does not answer"),
        ({"LOOMQL_MONGODB_URI": "mongodb://user:pw@host:99999/"}, (), "is not a valid MongoDB URI: Port"),
        (  # names are looked up within the time limit, too
            {"LOOMQL_MONGODB_URI": "mongodb+srv://nowhere.invalid/", "LOOMQL_DATABASE_TIMEOUT_SECONDS": "5"},
            (),
            "does not lead to a MongoDB server",
        ),
        ({"LOOMQL_MONGOD": "nowhere"}, (), "LOOMQL_MONGOD names nowhere"),
    ],
)
def test_failed_demo_load_prints_one_line(
    environment: dict[str, str], arguments: tuple[str, ...], expected: str, data_dir: Path
) -> None:
    timeout = {"LOOMQL_DATABASE_TIMEOUT_SECONDS": "0.5"}
    done = loomql("demo", "--data-dir", str(data_dir), *arguments, **timeout | environment)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("loomql: ")
    assert expected in done.stderr


def test_invalid_project_id_is_refused_before_anything_starts(data_dir: Path) -> None:
    done = run_in_process("demo", "--data-dir", str(data_dir), "--project", "nonsense")

    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (1, 1, "")
    assert "'nonsense' is not a project id; write entity/project" in done.stderr
    assert not data_dir.exists()
