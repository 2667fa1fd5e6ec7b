"""The findings of `loomql doctor`."""

from enum import IntEnum
from functools import partial
from typing import NamedTuple


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
