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

    mark_seconds: float = 120
    """Time by MongoDB's clock for which queries read an hour's calls after a write marked it. A process remembers its
    marks for a quarter of it, and marks again before it acknowledges a write that took half of it."""

    upload_touch_seconds: float = 30
    """Interval in which an upload is marked as alive; the sweep discards one without a mark for five minutes."""

    segment_check_seconds: float = 3_600
    """Age from which a segment of a text index is checked again for deleted and changed calls."""

    scan_seconds: float = 5
    """Time limit of a page of a text search without an index, which then ends with the rows found so far."""

    scan_batch_seconds: float = 0.15
    """Target duration of one batch of such a search; batches grow while they are faster."""

    highlight_seconds: float = 2
    """Time limit for the highlights of a page, of which one call may take an eighth."""

    sample_read_seconds: float = 0.25
    """Time limit for reading a sample of calls for hints, and again for its paths."""

    sample_cache_seconds: float = 10
    """Time for which a sample is reused, so that a client that polls does not pay each time."""

    empty_sample_seconds: float = 1
    """Time for which a sample without calls is reused: MongoDB may have been too slow for its first batch only once."""

    hints_seconds: float = 1
    """Timeout for all hints of a result; hints found until then are returned."""

    budget_wait_seconds: float = 2
    """Total time that a request waits for others to release memory."""

    slot_wait_seconds: float = 5
    """Time that an operation, a long document or a message over gRPC waits for a slot."""

    message_seconds: float = 60
    """Time for receiving a message over gRPC, which occupies a slot."""

    beat_seconds: float = 12
    """Interval between keepalive messages to a client, short enough for proxies."""

    client_timeout_seconds: float = 60
    """Time after which a client that reads or answers nothing is disconnected."""

    close_seconds: float = 1
    """Time for such a client to take a close frame."""

    key_fresh_seconds: float = 0.25
    """Age of the cached API keys from which a request starts a new read in the background."""

    key_trusted_seconds: float = 1
    """Time for which a process may use the API keys it has read, counted from before the read. A change of keys waits
    as long before it returns: by then no process uses the old keys."""

    unwatched_seconds: float = 60
    """Time for which the stream of events still covers projects without subscribers, many of which return."""

    run_renew_seconds: float = 1
    """Interval in which a worker of an evaluation run renews its lease and learns of a cancellation."""

    run_retry_seconds: float = 1
    """Pause before an evaluation run repeats a write that the database refused."""


DEFAULT_TIMINGS: Final = Timings()
"""The timings of a server."""
