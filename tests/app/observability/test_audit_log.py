"""Tests that the audit log records each removal and change with its caller, over every protocol."""

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.observability.logs import AuditFile
from stores.calls import CallsStore
from stores.security import audit
from stores.timings import Timings
from tests.app.command import loomql, run_in_process
from tests.app.command import serving as serving_process
from tests.app.endpoints import Server, serving
from tests.stores.calls.builders import call_id
from tests.waiting import TIMEOUT

PROJECT = "acme/audited"
STORED = "what-nobody-else-should-read"
CREATE = f"""mutation {{
  callCreateBatch(batch: [{{start: {{
    projectId: "{PROJECT}", id: "{call_id(1)}", opName: "f", startedAt: "2026-03-01T08:00:00Z",
    attributes: {{}}, inputs: {{q: "{STORED}"}}
  }}}}]) {{ res {{ __typename }} }}
  objCreate(obj: {{projectId: "{PROJECT}", objectId: "prompt", val: "{STORED}"}}) {{ digest }}
}}"""


@pytest.fixture
def server(mongodb_uri: str, database_name: str) -> Iterator[Server]:
    # A purge waits for late writers, and this test has none.
    yield from serving(mongodb_uri, database_name, Timings(registry_lag_seconds=0, write_margin_seconds=0), admin=True)


def entries(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [json.loads(record.getMessage()) for record in caplog.records if record.name == "loomql.audit"]
    caplog.clear()
    return found


def test_deletes_purges_and_retention_are_logged_with_counts(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    assert "errors" not in server.graphql(CREATE).json()
    assert entries(caplog) == []
    ref = f"weave:///{PROJECT}/call/{call_id(1)}"
    made = server.graphql(
        f'mutation {{ feedbackCreate(projectId: "{PROJECT}", weaveRef: "{ref}", feedbackType: "note", '
        f'payload: {{note: "{STORED}"}}) {{ id }} }}'
    ).json()["data"]["feedbackCreate"]["id"]
    query = f'{{expr: {{eq: [{{getField: "id"}}, {{literal: "{made}"}}]}}}}'

    for change in (
        f'feedbackPurge(projectId: "{PROJECT}", query: {query}) {{ numPurged }}',
        f'callsDelete(projectId: "{PROJECT}", callIds: ["{call_id(1)}", "{call_id(2)}"]) {{ numDeleted }}',
        f'objDelete(projectId: "{PROJECT}", objectId: "prompt") {{ numDeleted }}',
        f'retentionSet(projectId: "{PROJECT}", keepDays: 30) {{ keepDays }}',
        f'projectPurge(projectId: "{PROJECT}", confirm: "{PROJECT}") {{ isDone }}',
    ):
        answer = server.graphql(f"mutation {{ {change} }}").json()
        assert "errors" not in answer, answer

    found = entries(caplog)
    assert {(entry["caller"], entry["project"]) for entry in found} == {("anonymous", PROJECT)}
    assert all(entry["time"].endswith("Z") for entry in found)
    logged = [(entry["action"], entry["detail"]) for entry in found]
    purged, deleted = {"ids": [made]}, {"call_ids": [call_id(1), call_id(2)]}
    versions = {"object_id": "prompt", "digests": "all"}
    assert logged[:8] == [
        ("feedback.purge", purged),
        ("feedback.purged", purged | {"num_purged": 1}),
        ("calls.delete", deleted),
        ("calls.deleted", deleted | {"num_deleted": 1}),
        ("object.delete", versions),
        ("object.deleted", versions | {"num_deleted": 1}),
        ("retention.set", {"keep_days": 30, "keep_calls": None}),
        ("project.purge", {}),
    ]
    # of the two calls, one was deleted before, and only its id is left
    assert (logged[8][0], logged[8][1]["calls"], len(logged)) == ("project.purged", 2, 9)
    assert STORED not in str(found)


def test_refused_action_is_not_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    for change in (
        f'objDelete(projectId: "{PROJECT}", objectId: "none") {{ numDeleted }}',
        f'projectPurge(projectId: "{PROJECT}", confirm: "other") {{ isDone }}',
    ):
        assert "errors" in server.graphql(f"mutation {{ {change} }}").json()

    assert entries(caplog) == []


def test_deletes_by_the_weave_sdk_are_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.graphql(CREATE)
    body = {"project_id": PROJECT, "call_ids": [call_id(1)]}

    assert server.client.post("/weave/calls/delete", json=body).status_code == 200

    [_, entry] = entries(caplog)
    assert (entry["action"], entry["detail"]["num_deleted"], entry["caller"]) == ("calls.deleted", 1, "anonymous")


async def test_actions_of_the_server_have_it_as_caller(calls: CallsStore, caplog: pytest.LogCaptureFixture) -> None:
    await calls.delete(PROJECT, [call_id(1)])

    assert [entry["caller"] for entry in entries(caplog)] == ["server", "server"]


def test_command_in_this_process_leaves_its_caller_and_log_unchanged(
    mongodb_uri: str, database_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    done = run_in_process("key", "create", "--project", "*", "--role", "admin", **place)
    audit.record_action("calls.delete", PROJECT)

    assert json.loads(done.stderr.splitlines()[0])["caller"] == "command line"
    assert [entry["caller"] for entry in entries(caplog)] == ["server"]


def test_many_ids_are_counted_and_only_some_named(caplog: pytest.LogCaptureFixture) -> None:
    audit.record("calls.delete", "key-1", PROJECT, {"call_ids": [str(number) for number in range(1000)]})

    [entry] = entries(caplog)
    assert len(entry["detail"]["call_ids"]) == 101
    assert entry["detail"]["call_ids"][-1] == "and 900 more"
    assert entry["caller"] == "key-1"


def test_entry_is_always_one_line(tmp_path: Path) -> None:
    odd = "oidc:\ud800\u2028\x85\n é"
    handler = logging.FileHandler(tmp_path / "audit.jsonl", encoding="utf-8")
    audit.logger.addHandler(handler)
    try:
        audit.record("calls.delete", odd, PROJECT, {})
    finally:
        audit.logger.removeHandler(handler)
        handler.close()

    [line] = (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["caller"] == odd


def test_command_appends_to_the_servers_file_also_after_rotation(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    log, moved = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    environment = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_AUDIT_LOG": str(log),
        "LOOMQL_LOG_LEVEL": "error",
    }
    delete = f'mutation {{ callsDelete(projectId: "{PROJECT}", callIds: ["{call_id(1)}"]) {{ numDeleted }} }}'
    with serving_process(tmp_path / "out", **environment) as server:
        for query in (CREATE, delete):
            httpx.post(server.url, json={"query": query}, timeout=TIMEOUT).raise_for_status()
        done = loomql("retention", "set", PROJECT, "--keep-days", "7", **environment)
        log.rename(moved)
        for query in (CREATE.replace(call_id(1), call_id(2)), delete.replace(call_id(1), call_id(2))):
            httpx.post(server.url, json={"query": query}, timeout=TIMEOUT).raise_for_status()

    assert done.returncode == 0, done.stderr
    assert [action_and_caller(line) for line in moved.read_text().splitlines()] == [
        ("calls.delete", "anonymous"),
        ("calls.deleted", "anonymous"),
        ("retention.set", "command line"),
    ]
    assert [action_and_caller(line) for line in log.read_text().splitlines()] == [
        ("calls.delete", "anonymous"),
        ("calls.deleted", "anonymous"),
    ]


def test_entry_that_cannot_be_written_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    monkeypatch.setattr(audit.logger, "handlers", [AuditFile(log)])
    audit.record("key.create", "command line", None, {})
    log.rename(tmp_path / "moved")
    log.mkdir()

    audit.record("key.revoke", "command line", None, {})
    log.rmdir()
    audit.record("key.rotate", "command line", None, {})

    assert action_and_caller((tmp_path / "moved").read_text()) == ("key.create", "command line")
    assert action_and_caller(log.read_text()) == ("key.rotate", "command line")
    entry, why = capsys.readouterr().err.splitlines()
    assert action_and_caller(entry) == ("key.revoke", "command line")
    assert why == f"loomql: the audit log {log}: Is a directory"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with room for 16 pages."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None or os.getuid() != 0:
        pytest.skip("no small disk can be mounted; run the tests as root")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False)
    if made.returncode != 0:
        pytest.skip("no small disk can be mounted; run the tests as root")
    yield folder
    subprocess.run([unmount, folder], check=True)


def test_entry_cut_by_a_full_disk_goes_to_standard_error(
    small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, rest = small_disk / "audit.jsonl", small_disk / "rest"
    monkeypatch.setattr(audit.logger, "handlers", [AuditFile(log)])
    audit.record("key.create", "command line", None, {})
    with suppress(OSError), FileIO(rest, "w") as file:
        while file.write(b"x" * 4096):
            pass

    for number in range(40):
        audit.record("calls.delete", str(number), PROJECT, {"call_ids": [call_id(each) for each in range(20)]})
    rest.unlink()
    audit.record("key.rotate", "command line", None, {})

    first, *taken, torn, last = log.read_text().splitlines()
    assert (action_and_caller(first), action_and_caller(last)) == (
        ("key.create", "command line"),
        ("key.rotate", "command line"),
    )
    refused = capsys.readouterr().err.splitlines()
    assert [action_and_caller(line) for line in taken + refused[::2]] == [
        ("calls.delete", str(number)) for number in range(40)
    ]
    assert refused[0].startswith(torn)
    assert set(refused[1::2]) == {f"loomql: the audit log {log}: No space left on device"}


def test_refused_command_creates_no_file(tmp_path: Path) -> None:
    log, uri = tmp_path / "audit.jsonl", "mongodb://127.0.0.1:1/?directConnection=true"
    refused = run_in_process(
        *("key", "create", "--project", "*", "--role", "admin"),
        LOOMQL_MONGODB_URI=uri,
        LOOMQL_AUDIT_LOG=str(log),
        LOOMQL_DATABASE_TIMEOUT_SECONDS="0.1",
    )

    assert refused.returncode == 1
    assert not log.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user; run the tests as root")
def test_audit_file_belongs_to_the_owner_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    os.chown(tmp_path / "log", 12345, 12345)
    AuditFile(tmp_path / "log" / "audit.jsonl").check()

    made = (tmp_path / "log" / "audit.jsonl").stat()
    assert (made.st_uid, made.st_gid) == (12345, 12345)


def test_missing_audit_folder_prevents_actions_and_startup(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    log = tmp_path / "none" / "audit.jsonl"
    own = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_AUDIT_LOG": str(log),
    }
    made = run_in_process("key", "create", "--project", "*", "--role", "admin", **own)
    served = loomql("serve", "--port", "0", **own)
    listed = run_in_process("key", "list", **{**own, "LOOMQL_AUDIT_LOG": ""})

    why = f"loomql: the audit log {log} is not writable: No such file or directory\n"
    assert (made.returncode, made.stdout) == (1, "")
    assert made.stderr.endswith(why)
    assert (served.returncode, served.stderr) == (1, why)
    assert listed.stdout.startswith("No key exists")


def action_and_caller(line: str) -> tuple[str, str]:
    """Return the action of an entry and its caller."""
    entry = json.loads(line)
    return entry["action"], entry["caller"]


def test_command_without_a_file_logs_to_standard_error(mongodb_uri: str, database_name: str) -> None:
    environment = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}

    made = loomql("key", "create", "--project", PROJECT, "--role", "reader", **environment)
    public_id = made.stdout.split("_")[1]
    ended = loomql("key", "revoke", public_id, **environment)

    assert [action_and_caller(line) for line in made.stderr.splitlines() if line[0] == "{"] == [
        ("key.create", "command line")
    ]
    assert [action_and_caller(line) for line in ended.stderr.splitlines()] == [("key.revoke", "command line")]
    assert made.stdout.strip() not in made.stderr
