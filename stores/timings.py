"""The durations of a process that tests shorten: `Database` and the endpoints carry them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations of one process, all in seconds."""

    registry_lag_seconds: float = 10
    """Maximum lag of a project's stored last activity: a writer checks the registry this often, so that frequent
    writes cost no extra command."""

    write_margin_seconds: float = 30
    """Maximum duration of one write: a bulk of some thousand documents, or one attempt at a transaction. A purge waits
    for writes that have begun."""


DEFAULT_TIMINGS: Final = Timings()
"""The timings of a server."""
