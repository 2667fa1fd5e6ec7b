"""The lines of the log as uvicorn's configuration of ours writes them, for people and as JSON, with no secrets."""

import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Literal

import pytest

from app.observing.logs import log_config
from app.observing.under_way import CURRENT, UnderWay
from app.settings import Settings

SECRET = "of-a-customer"  # noqa: S105 -- what must not be told
Form = Literal["text", "json"]
Written = Callable[[Form, Callable[[], None]], list[str]]


@pytest.fixture
def written() -> Iterator[Written]:
    """What is written in a form while something is done; the loggers are as they were afterwards."""
    names = (None, "loomql", "loomql.audit", "uvicorn", "uvicorn.error", "uvicorn.access")
    named = [logging.getLogger(name) for name in names]
    before = [(each, each.level, each.propagate, each.handlers[:]) for each in named]

    def lines(form: Form, do: Callable[[], None]) -> list[str]:
        config = log_config(Settings(mongodb_uri="mongodb://localhost", log_format=form))
        with redirect_stderr(StringIO()) as out, redirect_stdout(out):
            logging.config.dictConfig({**config, "disable_existing_loggers": False})
            do()
        return out.getvalue().splitlines()

    yield lines
    for each, level, propagate, handlers in before:
        each.level, each.propagate, each.handlers = level, propagate, handlers


@pytest.fixture
def under_way() -> Iterator[UnderWay]:
    """A request that is under way."""
    current = UnderWay("mine", "graphql", {}, None)
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
def test_a_line_of_json_has_the_request_and_what_was_raised_without_what_it_said(written: Written) -> None:
    failed, accessed = map(json.loads, written("json", fail_and_answer))

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


def test_a_line_is_one_whatever_is_in_it(written: Written) -> None:
    message = 'two\nlines, a \u2028 and a "quote"'

    [line] = written("json", lambda: logging.getLogger("loomql").error(message))

    assert json.loads(line)["message"] == message
    assert "request_id" not in json.loads(line)


@pytest.mark.usefixtures("under_way")
def test_a_line_for_people_ends_with_the_id_and_what_was_raised_follows(written: Written) -> None:
    lines = written("text", fail_and_answer)

    assert SECRET not in "\n".join(lines)
    assert "ERROR:    it failed with Bearer *** [mine]" in lines
    assert "ValueError: no float: ***" in lines
    [accessed] = [line for line in lines if "GET" in line]
    assert accessed.startswith("INFO:")
    assert '"GET /x?*** HTTP/1.1" 200' in accessed
    assert accessed.endswith(" [mine]")


def test_a_line_that_is_of_no_request_has_no_id(written: Written) -> None:
    assert written("text", lambda: logging.getLogger("loomql").warning("swept")) == ["WARNING:  swept"]
