"""Stored totals of threads: one document per thread, computed from the totals of the traces that have its turns.

A total has the fields by which `stores.threads` sorts, by the same names. It is right unless it is `stale`, or a trace
that has a turn of the thread, or had one, is to be read from calls.

A change of a trace marks the totals of its threads as due in the same transaction, and later steps compute these. So a
thread with traces in many hours is computed once after these are settled. A transaction that marks a total while it is
computed conflicts with the one that stores it. `live_until` of the project's state says that some are due.

Percentiles do not add up, so each computation reads all turns of the thread. Those with too many have no total.
"""

from collections.abc import Sequence
from itertools import groupby
from math import fsum
from typing import Any, Final

from pymongo import DeleteOne, ReplaceOne

from stores.database import Database, Document
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session
from stores.hours import state_key
from stores.json.bson_copy import INT64
from stores.rollups.trace_totals import (
    DUE,
    MAX_TURNS,
    NUM_CALLS,
    NUM_ERRORS,
    TOTAL_COST,
    TOTAL_TOKENS,
    TotalsWriter,
)

P50: Final = "p50_turn_duration_ms"
P99: Final = "p99_turn_duration_ms"
PERCENTILES: Final = {P50: 50, P99: 99}
"""Percents of the percentiles of a thread's turn durations, by name."""

NO_TOTAL: Final = 2
"""Value of `stale` in the document of a thread that every query reads from its turns."""

_BATCH: Final = 100


async def complete_totals(database: Database, project_id: str) -> WorkSteps:
    """Compute the costs of traces at new prices, and then the totals of threads that are due, in steps."""
    key = state_key(project_id)
    state = await database.hour_marks.find_one({**key, "ready": True})
    if state is None:
        return
    async for _ in TotalsWriter(database, project_id).price_again():
        yield
    if "live_until" in state:
        while await _compute_batch(database, project_id):
            yield
        unchanged = {**key, "live_until": state["live_until"], "totals": state.get("totals")}
        await database.hour_marks.update_one(unchanged, {"$unset": {"live_until": ""}})


async def _compute_batch(database: Database, project_id: str) -> bool:
    """Compute the totals of some threads that are due; False if there are none."""
    turns_of_one = {"$filter": {"input": "$turns", "cond": {"$eq": ["$$this.thread", "$$thread"]}}}
    turns = {
        "from": database.trace_totals.name,
        "localField": "id",
        "foreignField": "turns.thread",
        "let": {"thread": "$id"},
        "pipeline": [
            {"$match": {"project_id": project_id}},
            {"$project": {"turns": turns_of_one} | dict.fromkeys((NUM_CALLS, NUM_ERRORS, TOTAL_TOKENS, TOTAL_COST), 1)},
            {"$unwind": "$turns"},
            {"$limit": MAX_TURNS + 1},
        ],
        "as": "turns",
    }
    stages: list[Document] = [
        {"$match": {"project_id": project_id, "stale": DUE}},
        {"$limit": _BATCH},
        {"$project": {"id": 1}},
        {"$lookup": turns},
    ]

    async def compute(session: Session) -> bool:
        threads = await database.thread_totals.aggregate(stages, session=session).to_list(None)
        writes: list[Any] = []
        for thread in threads:
            key = {"_id": thread["_id"], "project_id": project_id}
            total = _total(thread["turns"])
            writes.append(ReplaceOne(key, {**key, "id": thread["id"], **total}) if total else DeleteOne(key))
        if writes:
            await database.thread_totals.bulk_write(writes, ordered=False, session=session)
        return bool(writes)

    return await database.transaction(compute)


def _total(turns: Sequence[Document]) -> Document | None:
    """Return the values of a thread; None if none of its turns has ended.

    Each turn is in a document of its trace, and those of a trace follow each other.
    """
    if len(turns) > MAX_TURNS or any(NUM_CALLS not in each for each in turns):
        return {"stale": NO_TOTAL}
    ended = [each["turns"] for each in turns if each["turns"].get("ended_at") is not None]
    if not ended:
        return None
    durations = sorted(turn["ended_at"] - turn["started_at"] for turn in ended)
    traces = [next(of_trace) for _, of_trace in groupby(turns, lambda each: each["_id"])]
    costs = [trace[TOTAL_COST] for trace in traces if TOTAL_COST in trace]
    return {
        "turn_count": len(turns),
        "start_time": min(each["turns"]["started_at"] for each in turns),
        "last_updated": max(turn["ended_at"] for turn in ended),
        **{name: _percentile(durations, percent) for name, percent in PERCENTILES.items()},
        NUM_CALLS: sum(trace[NUM_CALLS] for trace in traces),
        NUM_ERRORS: sum(trace[NUM_ERRORS] for trace in traces),
        TOTAL_TOKENS: min(sum(trace[TOTAL_TOKENS] for trace in traces), INT64 - 1),
        **({TOTAL_COST: fsum(costs)} if costs else {}),
    }


def _percentile(durations: Sequence[int], percent: int) -> float:
    """Return a percentile, in milliseconds, of sorted microseconds, by the operations of `stores.threads`."""
    position = (len(durations) - 1) * percent / 100
    lower = int(position)
    difference = durations[min(lower + 1, len(durations) - 1)] - durations[lower]
    return (durations[lower] + difference * (position - lower)) / 1000
