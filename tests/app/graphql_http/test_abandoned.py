"""Tests that the server logs nothing about coroutines that were never awaited."""

import sys
from collections import namedtuple
from typing import Any

import pytest

from app.commands import server


async def begins_never() -> None:
    """A resolver whose client disconnected."""


def lose_as_a_named_tuple_is_made(held: list[Any]) -> None:
    """Drop a coroutine as the garbage collector may do inside the code of a named tuple, which has no builtins."""
    made = namedtuple("made", "one")  # noqa: PYI024 -- the one whose code this is about
    new = made.__new__.__globals__
    assert new["__builtins__"] == {}
    eval("held.clear()", {**new, "held": held})  # noqa: S307 -- in its place


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_coroutine_that_python_cannot_warn_about_is_ignored(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", server._exit_again)

    lose_as_a_named_tuple_is_made([begins_never()])

    assert capfd.readouterr().err == ""


def test_other_unraisable_exceptions_are_reported(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        def __del__(self) -> None:
            raise KeyError("lost")

    monkeypatch.setattr(sys, "unraisablehook", server._exit_again)

    Failing()

    assert "KeyError: 'lost'" in capfd.readouterr().err
