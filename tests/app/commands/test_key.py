"""Tests of `loomql key`, and of the message of `loomql serve` without keys."""

import asyncio
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.cli import main
from app.commands.dispatch import parser
from app.commands.server import ServeError, check_keys
from app.settings import Settings
from stores.database import Database
from stores.keys import KeysStore
from tests.app.command import serving
from tests.waiting import TIMEOUT

Command = Callable[..., tuple[int, str, str]]
KEY = re.compile(r"loomql_([0-9a-f]{16})_[0-9a-f]{64}\n")


@pytest.fixture
def command(
    mongodb_uri: str, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return a function that runs a command in this process and returns its exit code, stdout and stderr."""
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", database.calls.database.name)
    monkeypatch.setattr(KeysStore.__init__, "__defaults__", (0.0,))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["key", *arguments])
        return code, *capsys.readouterr()

    return run


def made(command: Command, *arguments: str) -> str:
    """Run a command that creates a key and return the id of the key."""
    code, out, _err = command(*arguments)
    assert code == 0
    found = KEY.fullmatch(out)
    assert found
    return found[1]


def test_new_key_is_printed_alone_and_once(command: Command) -> None:
    first = command("create", "--project", "acme/chat", "--role", "writer", "--name", "the chat", "--expires", "90d")
    second = command("create", "--project", "*", "--role", "admin")
    listed = command("list")

    assert KEY.fullmatch(first[1])
    assert "writer of acme/chat" in first[2]
    assert "from now on every request needs a key" in first[2]
    assert "from now on" not in second[2]
    for text in (first[1], second[1]):
        assert text.strip().rpartition("_")[2] not in first[2] + second[2] + listed[1]
        assert re.search(rf"^{text[7:23]}  live ", listed[1], re.MULTILINE)
    assert re.search(r"until 2\d{3}-.*writer of acme/chat  the chat$", listed[1], re.MULTILINE)
    assert re.search(r"no expiry  admin of \*$", listed[1], re.MULTILINE)


def test_key_may_cover_several_projects(command: Command) -> None:
    made(command, "create", "--project", "acme/*", "--project", "b/c", "--role", "reader")

    assert "reader of acme/*, reader of b/c" in command("list")[1]


def test_revoked_key_stays_revoked(command: Command) -> None:
    key = made(command, "create", "--project", "a/b", "--role", "reader")

    answers = [command("revoke", key) for _ in range(2)]

    assert [code for code, _, _ in answers] == [0, 0]
    assert f"{key}  revoked" in command("list")[1]
    assert command("rotate", key)[2] == "loomql: the key has ended; create a new one instead\n"


async def test_revoking_a_key_cancels_its_evaluation_runs(command: Command, database: Database) -> None:
    keys = [await asyncio.to_thread(made, command, "create", "--project", "a/b", "--role", "writer") for _ in range(2)]
    runs = [{"_id": f"a/b:{number}", "ordered_by": key} for number, key in enumerate([*keys, keys[0]])]
    await database.evaluation_runs.insert_many(runs)

    _code, out, _err = await asyncio.to_thread(command, "revoke", keys[0])

    canceled = [run.get("canceled_by") async for run in database.evaluation_runs.find(sort=[("_id", 1)])]
    why = f"the revocation of the key {keys[0]}, which started it"
    assert canceled == [why, None, why]
    assert out.endswith("Evaluation runs that it started and that are now canceled: 2.\n")


def test_key_that_never_expires_is_rotated_and_listed(command: Command) -> None:
    old = made(command, "create", "--project", "a/b", "--role", "reader", "--expires", "9999-12-31T23:59:59Z")
    new = made(command, "rotate", old, "--grace", "1h")
    again = command("rotate", old)

    assert command("list")[1].splitlines()[1].startswith(f"{new}  live ")
    assert (again[0], again[1]) == (1, "")
    assert f"the key was already replaced by {new}; rotate that one" in again[2]


def test_key_is_rotated(command: Command) -> None:
    old = made(command, "create", "--project", "a/b", "--role", "reader", "--expires", "30d")
    new = made(command, "rotate", old, "--grace", "1h")
    last = made(command, "rotate", new)
    listed = command("list")[1]

    states = {line.split()[0]: line.split()[1] for line in listed.splitlines()}
    assert states == {old: "live", new: "revoked", last: "live"}
    assert listed.count("reader of a/b") == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("create", "--project", "acme", "--role", "reader"), "does not name projects; write entity/project, entity/*"),
        (("create", "--project", "*/*", "--role", "reader"), "does not name projects"),
        (("create", "--project", "a/b/c", "--role", "reader"), "does not name projects"),
        (("create", "--project", "", "--role", "reader"), "does not name projects"),
        (("create", "--project", "acme/chat-*", "--role", "reader"), "write no other *"),
        (("create", "--project", "acme/**", "--role", "reader"), "does not name projects"),
        (("create", "--project", "acme/chat ", "--role", "reader"), "does not name projects"),
        (("create", "--project", " acme/*", "--role", "reader"), "does not name projects"),
        (("create", "--project", "acme/cafe\N{COMBINING ACUTE ACCENT}", "--role", "reader"), "does not name projects"),
        (("create", "--project", "a/b", "--role", "reader", "--expires", "999999w"), "before the year 10000"),
        (("create", "--project", "a/b", "--role", "reader", "--expires", "soon"), "neither a duration such as 90d"),
        (("create", "--project", "a/b", "--role", "reader", "--expires", "2020-01-01"), "end in the future"),
        (("create", "--project", "a/b", "--role", "reader", "--name", "x\ny"), "printable characters"),
        (("revoke", "0" * 16), "key '0000000000000000' does not exist"),
        (("rotate", "x"), "key 'x' does not exist"),
        (("rotate", "x", "--grace", "1 day"), "not a duration"),
    ],
)
def test_invalid_key_commands_are_reported(command: Command, arguments: tuple[str, ...], reason: str) -> None:
    code, out, err = command(*arguments)

    assert (code, out) == (1, "")
    assert reason in err


def test_list_without_keys_says_how_to_create_one(command: Command) -> None:
    assert command("list")[1] == "No key exists; create one with `loomql key create --project '*' --role admin`.\n"


def test_hint_for_the_first_key_names_the_servers_database(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    settings = Settings(mongodb_database=database_name, host="0.0.0.0", data_dir=tmp_path / "their data")  # noqa: S104 -- what is tested

    with pytest.raises(ServeError) as refused:
        check_keys(settings, mongodb_uri)
    [command] = re.findall(r"`loomql (key create .*?)`", str(refused.value))
    options = parser().parse_args(shlex.split(command))

    assert (options.project, options.role, options.data_dir) == (["*"], "admin", tmp_path / "their data")


def test_hint_for_the_first_key_with_a_uri_names_no_folder(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, data_dir=tmp_path, keys="required")

    with pytest.raises(ServeError, match=re.escape("`loomql key create --project '*' --role admin`")) as refused:
        check_keys(settings, mongodb_uri)
    assert str(refused.value).startswith("LOOMQL_KEYS=required requires an API key, and none exists")
    assert "or set it to auto and listen on 127.0.0.1" in str(refused.value)


async def test_non_local_address_needs_keys(
    mongodb_uri: str, database: Database, database_name: str, command: Command, tmp_path: Path
) -> None:
    environment = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    address = ("--host", "0.0.0.0")  # noqa: S104 -- what is tested
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, host=address[1])

    with pytest.raises(ServeError, match=re.escape("`loomql key create --project '*' --role admin`")):
        await asyncio.to_thread(check_keys, settings, mongodb_uri)
    _code, created, _told = await asyncio.to_thread(command, "create", "--project", "*", "--role", "reader")
    with serving(tmp_path / "out", *address, **environment) as server:
        statuses = [
            httpx.post(server.url, json={"query": "{ __typename }"}, headers=headers, timeout=TIMEOUT).status_code  # noqa: ASYNC210
            for headers in ({}, {"authorization": f"Bearer {created.strip()}"})
        ]

    assert statuses == [401, 200]
    assert len(await KeysStore(database).all()) == 1
