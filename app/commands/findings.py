"""The findings of `loomql doctor`."""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import partial
from typing import Final, NamedTuple

import pymongo
from pymongo.errors import PyMongoError

from app.mongodb import driver_message
from app.sharding import ShardingError

CHECK_SECONDS: Final = 6
"""Seconds within which MongoDB must answer all commands of one check."""


class Level(IntEnum):
    """Severity of a finding; a higher value is worse."""

    OK = 0
    WARNING = 1
    PROBLEM = 2


class Finding(NamedTuple):
    """The result of one check: its subject, and a text with what to do about a problem."""

    level: Level
    subject: str
    text: str


ok, warning, problem = (partial(Finding, level) for level in Level)


def attempt(subject: str, check: Callable[[], Iterable[Finding]], seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """Yield the findings of a check that asks MongoDB, and one for the error that ended it.

    A server that hangs causes no error, so the check ends after `seconds`.
    """
    findings: list[Finding] = []
    try:
        # The limit holds for the whole thread, so nothing is yielded within it.
        with pymongo.timeout(seconds):
            findings.extend(check())
    except ShardingError as error:
        findings.append(warning(subject, f"not checked: {error.message}."))
    except PyMongoError as error:
        reason = driver_message(error).rstrip(".")
        if error.timeout:
            reason = (
                f"MongoDB gave no answer in {seconds:g} s ({reason}). A server hangs, or a shard has no primary: "
                "restart the servers that do not answer"
            )
        findings.append(problem(subject, f"not checked: {reason}."))
    yield from findings
