"""The lines of the log as uvicorn's configuration of ours writes them, for people and as JSON, with no secrets."""

import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from app.observing.logs import log_config
from app.observing.under_way import CURRENT, UnderWay
from app.settings import Settings

SECRET = "of-a-customer"  # noqa: S105 -- what must not be told
Lines = Callable[[], list[str]]


@pytest.fixture
def lines(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """What was written since the last time, by loggers that are as they were afterwards."""
    named = [
        logging.getLogger(name)
        for name in (None, "loomql", "loomql.audit", "uvicorn", "uvicorn.error", "uvicorn.access")
    ]
    before = [(each, each.level, each.propagate, each.handlers[:], each.disabled) for each in named]
    form: Literal["text", "json"] = request.param
    config: dict[str, Any] = log_config(Settings(mongodb_uri="mongodb://localhost", log_format=form))
    logging.config.dictConfig({**config, "disable_existing_loggers": False})

    def written() -> list[str]:
        captured = capsys.readouterr()
        return [*captured.out.splitlines(), *captured.err.splitlines()]

    yield written
    for each, level, propagate, handlers, disabled in before:
        each.level, each.propagate, each.handlers, each.disabled = level, propagate, handlers, disabled


@pytest.fixture
def under_way() -> Iterator[UnderWay]:
    """A request that is under way."""
    current = UnderWay("mine", "graphql", {}, None)
    current.operation, current.name = "projects", "N" * 200
    token = CURRENT.set(current)
    yield current
    CURRENT.reset(token)


def fail() -> None:
    try:
        raise ValueError(f"no float: '{SECRET}'")  # noqa: TRY301 -- for its traceback
    except ValueError:
        logging.getLogger("loomql").exception("it failed with Bearer %s", f"{SECRET}-0123")


@pytest.mark.parametrize("lines", ["json"], indirect=True)
@pytest.mark.usefixtures("under_way")
def test_a_line_of_json_has_the_request_and_what_was_raised_without_what_it_said(lines: Lines) -> None:
    fail()
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "::1", "GET", f"/x?a={SECRET}", "1.1", 200)

    failed, accessed = map(json.loads, sorted(lines(), key=lambda line: "uvicorn" in line))
    assert SECRET not in str((failed, accessed))
    assert (failed["level"], failed["logger"], failed["message"]) == ("error", "loomql", "it failed with Bearer ***")
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert "test_logs.py" in failed["exception"]
    assert failed["exception"].rstrip().endswith("ValueError: no float: ***")
    assert {name: failed[name] for name in ("request_id", "door", "operation", "operation_name")} == {
        "request_id": "mine",
        "door": "graphql",
        "operation": "projects",
        "operation_name": "N" * 128,
    }
    assert accessed["message"] == '::1 - "GET /x?*** HTTP/1.1" 200'


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_a_line_is_one_whatever_is_in_it(lines: Lines) -> None:
    logging.getLogger("loomql").error('two\nlines, a \u2028 and a "quote"')

    [line] = lines()
    assert json.loads(line)["message"] == 'two\nlines, a \u2028 and a "quote"'
    assert "request_id" not in json.loads(line)


@pytest.mark.parametrize("lines", ["text"], indirect=True)
@pytest.mark.usefixtures("under_way")
def test_a_line_for_people_ends_with_the_id_and_what_was_raised_follows(lines: Lines) -> None:
    fail()
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "::1", "GET", f"/x?a={SECRET}", "1.1", 200)

    written = lines()
    assert SECRET not in "\n".join(written)
    assert "ERROR:    it failed with Bearer *** [mine]" in written
    assert "ValueError: no float: ***" in written
    [accessed] = [line for line in written if "GET" in line]
    assert accessed.startswith("INFO:")
    assert '"GET /x?*** HTTP/1.1" 200' in accessed
    assert accessed.endswith(" [mine]")


@pytest.mark.parametrize("lines", ["text"], indirect=True)
def test_a_line_that_is_of_no_request_has_no_id(lines: Lines) -> None:
    logging.getLogger("loomql").warning("swept")

    assert lines() == ["WARNING:  swept"]
