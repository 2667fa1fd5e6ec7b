"""Tests of `loomql retention` and `loomql project purge`: effects and output."""

import json
import re
from collections.abc import Callable
from functools import partial
from io import StringIO
from typing import Any

import pytest
from pymongo import MongoClient

from app.cli import main
from app.commands import projects
from stores import times
from stores.calls import CallsStore
from stores.database import Database
from stores.retention.rules import DAY
from tests.stores.calls.builders import PROJECT, SECOND, end, start

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
async def stored(database: Database) -> Database:
    """Return a database with three calls of nine days ago and one of now."""
    for number, days in enumerate((9, 9, 9, 0)):
        began = times.now() - days * DAY
        await CallsStore(database).write([start(number, started_at=began), end(number, ended_at=began + SECOND)])
    return database


@pytest.fixture
def command(
    mongodb_uri: str, stored: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return a function that runs a command in this process and returns its exit code, stdout and stderr."""
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", stored.calls.database.name)
    monkeypatch.setattr("sys.stdin", StringIO())
    monkeypatch.setattr(Database, "open", partial(Database.open, timings=stored.timings))

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(left.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def output_of(command: Command) -> Callable[..., str]:
    """Return a function that runs a command, requires success and returns its output.

    The function checks that stderr contains only audit entries of the command line.
    """

    def run(*arguments: str) -> str:
        code, out, err = command(*arguments)
        assert (code, {json.loads(line)["caller"] for line in err.splitlines()} - {"command line"}) == (0, set())
        return out

    return run


def test_rule_is_previewed_set_shown_applied_and_dropped(output_of: Callable[..., str]) -> None:
    gone = "3 traces of 3 calls (30 bytes), 0 calls deleted earlier, 0 feedback items, 0 files (0 bytes)"

    assert output_of("retention", "show") == "No project has a rule.\n"
    assert output_of("retention", "preview", PROJECT, "--keep-days", "5") == f"{PROJECT} would lose {gone}.\n"
    output = output_of("retention", "set", PROJECT, "--keep-days", "5", "--keep-calls", "100")
    assert output == f"{PROJECT} keeps 5 days and of those the 100 newest calls.\n"
    output = output_of("retention", "sweep", PROJECT)
    assert re.fullmatch(rf"Done after \d\.\d s\. Removed from {PROJECT}: {re.escape(gone)}\.\n", output)
    lines = output_of("retention", "show").splitlines()
    assert lines[0] == f"{PROJECT} keeps 5 days and of those the 100 newest calls."
    assert re.fullmatch(rf"  Last sweep: \S+Z, done; removed: {re.escape(gone)}\.", lines[1])
    assert output_of("retention", "drop", PROJECT).splitlines()[0] == f"{PROJECT} keeps everything."


def test_purge_needs_the_project_id_twice(
    mongodb_uri: str, stored: Database, command: Command, output_of: Callable[..., str]
) -> None:
    code, out, err = command("project", "purge", PROJECT)
    assert (code, out) == (1, "")
    assert f"must repeat the project id {PROJECT} to confirm the deletion" in err

    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        database = client[stored.calls.database.name]
        assert database.calls.count_documents({}) == 4
        database.projects.update_one({"_id": PROJECT}, {"$set": {"last_activity_at": 0}})
        assert output_of("project", "purge", PROJECT, "--confirm", PROJECT) == (
            f"Removed {PROJECT}: 4 calls, 0 feedback, 0 objects, 0 tables, 0 table rows, 0 files, 0 costs.\n"
        )
        assert database.calls.find_one() is None


@pytest.mark.timings(registry_lag_seconds=2, write_margin_seconds=1)
def test_waiting_purge_shows_what_it_deleted_and_the_wait(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")

    code, out, err = command("project", "purge", PROJECT, "--confirm", PROJECT)

    counts = "4 calls, 0 feedback, 0 objects, 0 tables, 0 table rows, 0 files, 0 costs"
    assert (code, out) == (0, f"Removed {PROJECT}: {counts}.\n")
    shown = re.findall(rf"Purging {PROJECT}: removed {counts}; waiting (\d) s until all servers", err)
    assert set(shown) <= {"3", "2", "1", "0"}
    assert shown


@pytest.mark.timings(registry_lag_seconds=2, write_margin_seconds=1)
def test_purge_prints_progress_lines_without_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "_LINE_SECONDS", 0.5)

    code, _, err = command("project", "purge", PROJECT, "--confirm", PROJECT)

    assert code == 0
    waiting = rf"Purging {PROJECT}: removed 4 calls, .*; waiting \d s until all servers know of the purge …"
    assert any(re.fullmatch(waiting, line) for line in err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("retention", "set", PROJECT), 2, "set --keep-days, --keep-calls or both"),
        (("retention", "set", PROJECT, "--keep-days", "-1"), 1, "-1 days is out of range; send 1 to"),
        (("retention", "set", PROJECT, "--keep-days", "x"), 2, "invalid int value"),
        (("retention", "preview", PROJECT), 1, f"{PROJECT} has no rule; state how many days"),
        (("retention", "sweep", "acme/typo"), 1, "project acme/typo does not exist"),
        (("retention", "show", "acme/typo"), 1, "project acme/typo does not exist"),
        (("project", "purge", "acme/typo", "--confirm", "acme/typo"), 1, "project acme/typo does not exist"),
    ],
)
def test_failed_retention_command_prints_one_line(
    command: Command, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    ended, out, err = command(*arguments)

    assert (ended, out) == (code, "")
    assert expected in err
