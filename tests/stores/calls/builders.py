"""Builders of starts and ends with defaults: a test names only the fields that it checks."""

from dataclasses import replace
from typing import Any

from stores.calls import CallEnd, CallStart
from stores.times import parse

PROJECT = "acme/chat"
NOON = parse("2026-01-31T12:00:00Z")
SECOND = 1_000_000


def call_id(number: int) -> str:
    """Return a call id; ids sort as their numbers do."""
    return f"00000000-0000-7000-8000-{number:012x}"


def trace_id(number: int) -> str:
    """Return a trace id; ids sort as their numbers do."""
    return f"11111111-0000-7000-8000-{number:012x}"


def start(number: int = 1, **changes: Any) -> CallStart:
    """Return the start of a root call in its own trace, one second after the start of the previous number."""
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


def end(number: int = 1, **changes: Any) -> CallEnd:
    """Return the end of the call with this number, half a second after its start."""
    plain = CallEnd(project_id=PROJECT, id=call_id(number), ended_at=NOON + number * SECOND + SECOND // 2, summary={})
    return replace(plain, **changes)
