"""How runs of evaluations stand."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no such call, or it is deleted."""


@dataclass(frozen=True, slots=True)
class Running:
    """It goes on: of how many rows it has, and for how many of them it is done, each trial a row."""

    completed_rows: int
    total_rows: int


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended with an exception."""

    error: str


@dataclass(frozen=True, slots=True)
class Complete:
    """It has ended; what it summed up is the JSON text of an object."""

    output: str


Status = NotFound | Running | Failed | Complete
