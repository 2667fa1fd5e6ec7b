"""Export requests: all lists and formats, with random arguments and cursors. Some clients disconnect early."""

import json
from random import Random
from typing import Any, Final
from urllib.parse import quote

from tests.fuzz import damage, queries, texts
from tests.fuzz.pool import Pool
from tests.fuzz.wire import Request

NAME: Final = "exports"
_CONCEPTS: Final = ("calls", "calls", "objects", "feedback", "threads", "nothing", "%00")


def request(random: Random, pool: Pool) -> Request:
    """Return one request.

    Most ask for little data, because the server starts a process for a large export.
    """
    wildness = random.choice((0.0, 0.1, 0.4))
    given: list[tuple[str, Any]] = [
        ("projectId", random.choice(("fuzz/own", "fuzz/other", "no/body", "demo/assistant")))
    ]
    if given[0][1] == "demo/assistant" and random.random() < 0.95:
        given.append(("filter", {"traceIds": [pool.pick(random, "trace") or "x"]}))
    elif random.random() < 0.5:
        given.append(("query", {"json": queries.query(random, wildness)}))
    if random.random() < 0.4:
        given.append(("sortBy", [{"field": queries.field(random, wildness), "direction": "ASC"}]))
    if random.random() < 0.2:
        given.append(("after", damage.of_text(random, pool.pick(random, "cursor") or "abc")))
    if random.random() < 0.2:
        given.append(
            (random.choice(("format", "cursors", "filter", "x")), random.choice(("ndjson", "true", "parquet", "{")))
        )
    if random.random() < wildness:
        given.append((random.choice(given)[0], texts.broken(random)))
    return _request(random, given)


def _request(random: Random, given: list[tuple[str, Any]]) -> Request:
    query = "&".join(f"{name}={quote(_spelled(value)[:20_000], errors='ignore')}" for name, value in given)
    method = random.choice(("GET", "GET", "GET", "GET", "GET", "HEAD", "POST"))
    # Some clients disconnect just after the answer starts.
    reads_for = 0.01 if random.random() < 0.1 else None
    return Request(NAME, method, f"/export/{random.choice(_CONCEPTS)}?{query}", reads_for=reads_for)


def _spelled(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
