"""Starts and ends as tests write them: a test names only what it is about."""

from dataclasses import replace
from typing import Any

from stores.calls import CallEnd, CallStart
from stores.times import parse

PROJECT = "acme/chat"
NOON = parse("2026-01-31T12:00:00Z")
SECOND = 1_000_000


def call_id(number: int) -> str:
    """A call id that sorts as its number does."""
    return f"00000000-0000-7000-8000-{number:012x}"


def trace_id(number: int) -> str:
    """A trace id that sorts as its number does."""
    return f"11111111-0000-7000-8000-{number:012x}"


def start(number: int = 1, **changes: Any) -> CallStart:  # noqa: ANN401 -- any field of a start
    """The start of a root call in a trace of its own, one second after that of the number before."""
    plain = CallStart(
        project_id=PROJECT,
        id=call_id(number),
        trace_id=trace_id(number),
        op_name="answer",
        started_at=NOON + number * SECOND,
        attributes={},
        inputs={},
    )
    return replace(plain, **changes)


def end(number: int = 1, **changes: Any) -> CallEnd:  # noqa: ANN401 -- any field of an end
    """The end of the same call, half a second after its start."""
    plain = CallEnd(project_id=PROJECT, id=call_id(number), ended_at=NOON + number * SECOND + SECOND // 2, summary={})
    return replace(plain, **changes)
