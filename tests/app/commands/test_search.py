"""Tests of `loomql search`: effects and output."""

import re
from collections.abc import Callable
from functools import partial

import pytest

from app.cli import main
from stores.calls import CallsStore
from stores.database import Database
from stores.timings import Timings
from tests.stores.calls.builders import PROJECT, end, start

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
async def command(
    mongodb_uri: str, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return a function that runs a command in this process, on a database with two calls.

    It returns the exit code, stdout and stderr.
    """
    hasty = Timings(registry_lag_seconds=0, write_margin_seconds=1)
    monkeypatch.setattr(Database, "open", partial(Database.open, timings=hasty))
    await CallsStore(database).write([start(1, inputs={"q": "the weft"}), end(1), start(2)])
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", database.calls.database.name)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


def test_text_index_is_switched_on_shown_and_switched_off(command: Command) -> None:
    none = (0, f"{PROJECT} has no text index, so searches scan its calls.\n", "")

    assert command("search", "status", PROJECT) == none
    code, output, _ = command("search", "on", PROJECT)
    assert code == 0
    assert re.fullmatch(rf"{PROJECT} has a text index of \d\.\d MiB; 2 calls are not indexed yet\.\n", output)
    assert command("search", "on", PROJECT)[:2] == (0, output)
    assert command("search", "status", PROJECT) == (0, output, "")
    assert command("search", "off", PROJECT)[:2] == none[:2]
    assert command("search", "off", PROJECT)[:2] == none[:2]


def test_missing_project_is_reported(command: Command) -> None:
    for action in ("on", "off", "status"):
        code, output, error = command("search", action, "acme/nowhere")

        assert (code, output) == (1, "")
        assert "project acme/nowhere does not exist" in error
