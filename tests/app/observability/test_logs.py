"""Tests of log lines as our uvicorn configuration writes them, as text and JSON, without secrets."""

import json
import logging
import logging.config
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import pytest
from pymongo import MongoClient

from app.observability.logs import log_config
from app.observability.requests import CURRENT, RequestRecord
from app.settings import Settings
from stores.calls.inputs import MAX_EXCEPTION
from stores.errors import BadInputError
from tests.app.command import eventually, serving
from tests.waiting import TIMEOUT

HOSTILE = "at\r\nERROR:    forged\x1b[2J\x1b]0;title\x07\x7f\x9b31m\x85\u2028\u2029\u202e\u2066\x00end"
ESCAPED = r"at\r\nERROR:    forged\x1b[2J\x1b]0;title\x07\x7f\x9b31m\x85\u2028\u2029\u202e\u2066\x00end"
AS_ERROR = ESCAPED.partition("[")[0] + "***"  # for exceptions other than StoreError the log omits text in brackets
LINE = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL): +\S|    ")
BANNER = ("LoomQL is up.", "  Explorer", "  GraphiQL", "  Data", "  Stop")
SECRET = "of-a-customer"  # noqa: S105 -- no password; the logs must not contain it
Form = Literal["text", "json"]
Written = Callable[[Form, Callable[[], None]], list[str]]


class Output(StringIO):
    """Standard output that a test can make look like a terminal."""


@pytest.fixture
def written() -> Iterator[Written]:
    """Return a function that runs an action and returns the lines logged in a format.

    The fixture restores the loggers afterwards.
    """
    names = (None, "loomql", "loomql.audit", "uvicorn", "uvicorn.error", "uvicorn.access")
    named = [logging.getLogger(name) for name in names]
    before = [(each, each.level, each.propagate, each.handlers[:]) for each in named]

    def lines(form: Form, do: Callable[[], None]) -> list[str]:
        config = log_config(Settings(mongodb_uri="mongodb://localhost", log_format=form))
        with redirect_stderr(Output()) as out, redirect_stdout(out):
            logging.config.dictConfig({**config, "disable_existing_loggers": False})
            do()
        return out.getvalue().splitlines()

    yield lines
    for each, level, propagate, handlers in before:
        each.level, each.propagate, each.handlers = level, propagate, handlers


@pytest.fixture
def under_way() -> Iterator[RequestRecord]:
    """Set a current request and yield its record."""
    current = RequestRecord("mine", "graphql", {}, None)
    current.operation, current.name = "projects", "N" * 200
    token = CURRENT.set(current)
    yield current
    CURRENT.reset(token)


def fail_and_answer() -> None:
    try:
        raise ValueError(f"no float: '{SECRET}'")  # noqa: TRY301 -- for its traceback
    except ValueError:
        logging.getLogger("loomql").exception("it failed with Bearer %s", f"{SECRET}-0123")
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "::1", "GET", f"/x?a={SECRET}", "1.1", 200)


@pytest.mark.usefixtures("under_way")
def test_json_line_has_request_and_exception_without_its_message(written: Written) -> None:
    failed, accessed = map(json.loads, written("json", fail_and_answer))

    assert SECRET not in str((failed, accessed))
    assert (failed["level"], failed["logger"], failed["message"]) == ("error", "loomql", "it failed with Bearer ***")
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert "test_logs.py" in failed["exception"]
    assert failed["exception"].rstrip().endswith("ValueError: no float: ***")
    assert {name: failed[name] for name in ("request_id", "endpoint", "operation", "operation_name")} == {
        "request_id": "mine",
        "endpoint": "graphql",
        "operation": "projects",
        "operation_name": "N" * 128,
    }
    assert accessed["message"] == '::1 - "GET /x?*** HTTP/1.1" 200'


def test_entry_is_always_one_line(written: Written) -> None:
    message = 'two\nlines, a \u2028 and a "quote"'

    [line] = written("json", lambda: logging.getLogger("loomql").error(message))

    assert json.loads(line)["message"] == message
    assert "request_id" not in json.loads(line)


@pytest.mark.usefixtures("under_way")
def test_text_line_ends_with_the_request_id_then_the_traceback(written: Written) -> None:
    lines = written("text", fail_and_answer)

    assert SECRET not in "\n".join(lines)
    assert "ERROR:    it failed with Bearer *** [mine]" in lines
    assert "    Traceback (most recent call last):" in lines
    assert "    ValueError: no float: ***" in lines
    [accessed] = [line for line in lines if "GET" in line]
    assert accessed.startswith("INFO:")
    assert '"GET /x?*** HTTP/1.1" 200' in accessed
    assert accessed.endswith(" [mine]")


def test_line_outside_a_request_has_no_id(written: Written) -> None:
    assert written("text", lambda: logging.getLogger("loomql").warning("swept")) == ["WARNING:  swept"]


def write_hostile_lines() -> None:
    log = logging.getLogger("loomql")
    log.warning("of %s", HOSTILE)
    log.warning(HOSTILE, extra={"color_message": HOSTILE})
    log.warning("half a pair: %s", "\ud800", stack_info=True)
    try:
        try:
            raise ValueError(HOSTILE)  # noqa: TRY301 -- for its traceback
        except ValueError as cause:
            raise BadInputError(HOSTILE) from cause
    except BadInputError:
        log.exception("Exception in ASGI application\n")
    access = logging.getLogger("uvicorn.access")
    access.info('%s - "%s %s HTTP/%s" %d', HOSTILE, HOSTILE, f"/{HOSTILE}", "1.1", 200)
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', HOSTILE, f"/{HOSTILE}")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_client_text_starts_no_line_and_sends_no_terminal_escape(
    written: Written, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    monkeypatch.setattr(Output, "isatty", lambda _self: is_terminal)

    lines = written("text", write_hostile_lines)

    plain = [re.sub(r"\x1b\[\d*m", "", line) for line in lines]  # uvicorn adds colours on terminals
    assert [line for line in plain if not line.isprintable() or not LINE.match(line)] == []
    assert plain[:2] == [f"WARNING:  of {ESCAPED}", f"WARNING:  {ESCAPED}"]
    assert "WARNING:  half a pair: \\ud800" in plain
    assert "ERROR:    Exception in ASGI application" in plain
    assert f"    ValueError: {AS_ERROR}" in plain
    assert f"    stores.errors.BadInputError: {ESCAPED}" in plain
    assert plain[-2] == f'INFO:     {ESCAPED} - "{ESCAPED} /{ESCAPED} HTTP/1.1" 200 OK'
    assert plain[-1] == f'INFO:     {ESCAPED} - "WebSocket /{ESCAPED}" [accepted]'


def test_json_escapes_client_text_to_ascii(written: Written) -> None:
    lines = written("json", write_hostile_lines)

    assert all(line.isascii() and line.isprintable() for line in lines)
    entries = [json.loads(line) for line in lines]
    assert [entries[0]["message"], entries[1]["message"]] == [f"of {HOSTILE}", HOSTILE]
    assert f"\nValueError: {AS_ERROR}\n" in entries[3]["exception"]
    assert len(entries) == 6


@pytest.mark.parametrize("form", ["text", "json"])
def test_real_server_logs_no_forged_line(mongodb_uri: str, database_name: str, tmp_path: Path, form: Form) -> None:
    environment = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_LOG_LEVEL": "debug",
        "LOOMQL_LOG_FORMAT": form,
        "FORWARDED_ALLOW_IPS": "*",
    }
    store_broken_calls(mongodb_uri, database_name)
    with serving(tmp_path / "out", **environment) as server:
        send_hostile_requests(server.url.removesuffix("/graphql"))
        assert eventually(lambda: b" is stored without its usage" in server.output.read_bytes())
        server.stop()
        output = server.output.read_bytes().decode()

    lines = [line for line in output.split("\n") if line and not line.startswith(BANNER)]
    assert [line for line in lines if not line.isprintable()] == []
    if form == "text":
        assert [line for line in lines if not LINE.match(line)] == []
    messages = lines if form == "text" else [json.loads(line)["message"] for line in lines]
    text = ESCAPED if form == "text" else HOSTILE
    assert any(f"exception of call {text} of acme/{text} has" in line for line in messages)
    assert any("1 of 1 items of a batch at /weave are not stored: batch.0" in line for line in messages)
    assert any(
        line.startswith(f"call acme/logs:{text} is stored") or f" call acme/logs:{text} is stored" in line
        for line in messages
    )
    assert any("9.9.9.9\\x9b31m" in line or "9.9.9.9\x9b31m" in line for line in messages)
    assert any("unexpected error" in line for line in messages)


def store_broken_calls(mongodb_uri: str, database_name: str) -> None:
    """Store calls that LoomQL never writes: one fails the upgrade of its summary, the other fails reads."""
    base = {"project_id": "acme/logs", "id": HOSTILE, "visible": True, "started_at": HOSTILE}
    with MongoClient[dict[str, Any]](mongodb_uri) as mongo:
        mongo[database_name].calls.insert_many(
            [
                {**base, "_id": f"acme/logs:{HOSTILE}", "json": {"summary": '{"usage": {"gpt": '}},
                {**base, "_id": f"acme/logs:2{HOSTILE}", "json": HOSTILE},
            ]
        )


def send_hostile_requests(url: str) -> None:
    """Send client text through every route that writes to a log."""
    end: dict[str, Any] = {"project_id": f"acme/{HOSTILE}", "id": HOSTILE, "ended_at": "2025-01-01T00:00:00Z"}
    end |= {"summary": {}, "exception": "x" * (MAX_EXCEPTION + 1)}
    with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
        client.post("/weave/call/end", json={"end": end})
        start = {"project_id": "acme/logs", "id": "1", "trace_id": "1", "op_name": "op", "started_at": end["ended_at"]}
        start |= {"attributes": {}, "inputs": {HOSTILE: "\ud800"}}
        batch = json.dumps({"batch": [{"mode": "start", "req": {"start": start}}]})
        client.post("/weave/call/upsert_batch", content=batch)
        client.post("/graphql", json={"query": '{ calls(projectId: "acme/logs") { nodes { id inputs startedAt } } }'})
        client.post("/weave/calls/stream_query", json={"project_id": "acme/logs"})
        client.get(f"/weave/{quote(HOSTILE)}")
        client.get("/export/calls", params={"projectId": "acme/logs", HOSTILE: HOSTILE})
    connection = HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT)
    connection.putrequest("GET", "/healthz")
    connection.putheader("X-Forwarded-For", b"9.9.9.9\x9b31m")
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()
