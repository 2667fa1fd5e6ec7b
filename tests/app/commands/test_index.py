"""Tests of `loomql index`, on an external MongoDB and while LoomQL runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.app.command import loomql, run_in_process, serving
from tests.waiting import TIMEOUT

if TYPE_CHECKING:
    import subprocess

CALLS = """mutation { callCreateBatch(batch: [
  {start: {
    projectId: "acme/chat", opName: "a", startedAt: "2026-01-31T12:00:00Z", attributes: {}, inputs: {customer_id: "c1"}
  }}
  {start: {
    projectId: "acme/chat", opName: "a", startedAt: "2026-01-31T12:00:01Z", attributes: {}, inputs: {customer_id: "c2"}
  }}
]) { __typename } }"""
OF_A_CUSTOMER = """{ explain(
  projectId: "acme/chat"
  query: {expr: {eq: [{getField: "inputs.customer_id"}, {literal: "c2"}]}}
) { indexes documentsExamined returned } }"""


@pytest.fixture
def own(mongodb_uri: str, database_name: str) -> dict[str, str]:
    """Return the environment that names an external MongoDB."""
    return {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}


def index(*arguments: str, **environment: str) -> str:
    """Run a command, require success and return its output."""
    return printed(run_in_process("index", *arguments, **environment))


def index_apart(*arguments: str, **environment: str) -> str:
    """Run a command in a separate process, which may start a MongoDB, and return its output."""
    return printed(loomql("index", *arguments, **environment))


def printed(done: "subprocess.CompletedProcess[str]") -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_indexes_are_created_listed_and_dropped(own: dict[str, str]) -> None:
    assert index("list", **own) == "No index has been added.\n"
    assert index("add", "acme/chat", r"inputs.a\.b", **own) == "inputs.a\\.b is indexed in acme/chat.\n"
    assert index("add", "ALL", "attributes.env", **own) == "attributes.env is indexed in all projects.\n"
    assert index("add", "acme/chat", "attributes.env", **own) == "attributes.env is already indexed in acme/chat.\n"
    assert index("list", **own) == "ALL        attributes.env  0.0 MiB\nacme/chat  inputs.a\\.b     0.0 MiB\n"
    assert index("drop", "ALL", "attributes.env", **own) == "attributes.env is no longer indexed in all projects.\n"
    assert index("list", **own) == "acme/chat  inputs.a\\.b  0.0 MiB\n"


def test_index_created_on_a_running_server_serves_the_next_query(data_dir: Path, tmp_path: Path) -> None:
    # given
    with serving(tmp_path / "out", "--data-dir", str(data_dir)) as server:
        written = httpx.post(server.url, json={"query": CALLS}, timeout=TIMEOUT).json()
        # when
        index_apart("add", "acme/chat", "inputs.customer_id", "--data-dir", str(data_dir))
        plan = httpx.post(server.url, json={"query": OF_A_CUSTOMER}, timeout=TIMEOUT).json()
    # then
    assert "errors" not in written
    assert plan["data"] == {
        "explain": {"indexes": ["path:acme/chat:inputs.customer_id"], "documentsExamined": 1, "returned": 1}
    }


def test_index_created_without_a_server_is_used_by_the_next(data_dir: Path) -> None:
    index_apart("add", "acme/chat", "inputs.customer_id", "--data-dir", str(data_dir))

    assert index_apart("list", LOOMQL_DATA_DIR=str(data_dir)).startswith("acme/chat  inputs.customer_id  ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("add", "acme/chat", "op_name"), "op_name needs no index of its own"),
        (("add", "chat", "inputs.a"), "'chat' is not a project id"),
        (("add", "acme/chat", "inputs.[bold]..a"), "has an empty key"),
        (("drop", "ALL", "inputs.a"), "no index on inputs.a in all projects; `loomql index list` shows"),
    ],
)
def test_failed_index_command_prints_one_line(arguments: tuple[str, ...], expected: str, own: dict[str, str]) -> None:
    done = run_in_process("index", *arguments, **own)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert expected in done.stderr


@pytest.mark.parametrize("arguments", [(), ("add", "acme/chat"), ("drop",), ("list", "acme/chat"), ("sing",)])
def test_wrong_usage_exits_with_2_and_prints_usage(arguments: tuple[str, ...]) -> None:
    done = run_in_process("index", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: loomql")
