"""Stored totals of threads: one document per thread, computed from the totals of the traces that have its turns.

A total has the fields by which `stores.threads` sorts, by the same names. It is right unless the thread is due, or a
trace that has a turn of it, or had one, is to be read from calls.

A transaction that changes totals of traces also inserts the list of their threads into `due_threads`, and later steps
compute these. So a thread with traces in many hours is computed once or twice after these are settled. Each step
changes `threads` of the project's state, so it conflicts with transactions that change totals of traces, and with other
workers that compute threads: otherwise a slow one could store an older total. `live_until` of the state says that
threads may be due.

Percentiles do not add up, so each computation reads all turns of the thread. One with too many, or with a turn in a
trace that has too many turns, has no total, but a document with `stale`: queries read only this thread from calls.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from math import fsum
from typing import Any, Final

from pymongo import DeleteOne, ReplaceOne, UpdateOne

from stores import ids
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session
from stores.hours import state_key
from stores.json.bson_copy import INT64
from stores.rollups.trace_totals import (
    MAX_TURNS,
    NUM_CALLS,
    NUM_ERRORS,
    TOTAL_COST,
    TOTAL_TOKENS,
    WITHOUT_TIMES,
    TotalsWriter,
    total_key,
    totals_of,
)

P50: Final = "p50_turn_duration_ms"
P99: Final = "p99_turn_duration_ms"
PERCENTILES: Final = {P50: 50, P99: 99}
"""Percents of the percentiles of a thread's turn durations, by name."""

_LISTED: Final = "listed"

_MAX_THREADS: Final = 300
"""Threads that one transaction computes, besides those of the last list."""

_MAX_LISTS: Final = 500

_MAX_READ: Final = 5_000
"""Turns that one transaction may read before it stops; it still writes the threads that it has computed.

Transactions must be short.
"""

_READ_TOGETHER: Final = 10
"""Threads whose turns one command reads."""

_MAX_TRACES: Final = 2_000
"""Traces of several threads that one command may return."""


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

    async def compute(session: Session) -> bool:
        change = {"$set": {"threads": ids.new_id()}}
        state = {**state_key(project_id), "ready": True}
        if not (await database.hour_marks.update_one(state, change, session=session)).matched_count:
            return False
        lists = await _due_lists(database, project_id, session)
        writes: dict[str, Any] = {}
        read = 0
        for some in batches([*dict.fromkeys(name for names in lists.values() for name in names)], _READ_TOGETHER):
            for thread, turns in (await _find_turns(database, project_id, some, session)).items():
                key, total = total_key(project_id, thread), _total(turns)
                document = {**key, "id": thread, **(total or {})}
                writes[thread] = ReplaceOne(key, document, upsert=True) if total else DeleteOne(key)
                read += sum({each["_id"]: each[_LISTED] for each in turns}.values())
            if read > _MAX_READ:
                break
        if writes:
            await database.thread_totals.bulk_write([*writes.values()], ordered=False, session=session)
            await _end(database, project_id, lists, writes.keys(), session)
        return bool(writes)

    return await database.transaction(compute)


async def _find_turns(
    database: Database, project_id: str, threads: Sequence[str], session: Session
) -> dict[str, list[Document]]:
    """Return the turns of threads, each in a document of its trace; of a thread at most one more than `MAX_TURNS`.

    In a transaction on a sharded cluster MongoDB refuses `$lookup`.
    """
    named = {"$literal": [*threads]}
    turns = {"$filter": {"input": "$turns", "cond": {"$in": ["$$this.thread", named]}}}
    number = {"$cond": [f"${WITHOUT_TIMES}", 1, {"$size": "$turns"}]}
    shown = dict.fromkeys((NUM_CALLS, NUM_ERRORS, TOTAL_TOKENS, TOTAL_COST, WITHOUT_TIMES), 1)
    limit = _MAX_TRACES if len(threads) > 1 else MAX_TURNS
    stages: list[Document] = [
        {"$match": {"project_id": project_id, "turns.thread": {"$in": [*threads]}}},
        {"$limit": limit + 1},
        {"$project": {**shown, "turns": turns, _LISTED: number}},
    ]
    traces = await database.trace_totals.aggregate(stages, session=session, batchSize=limit + 2).to_list(None)
    if len(traces) > limit and len(threads) > 1:
        each_alone = [await _find_turns(database, project_id, [thread], session) for thread in threads]
        return {thread: found for alone in each_alone for thread, found in alone.items()}
    found: dict[str, list[Document]] = {thread: [] for thread in threads}
    for trace in traces:
        for turn in trace["turns"]:
            if len(known := found[turn["thread"]]) <= MAX_TURNS:
                known.append({**trace, "turns": turn})
    return found


async def _due_lists(database: Database, project_id: str, session: Session) -> dict[str, list[str]]:
    """Return the oldest lists of threads that are due by key, as many as one transaction may compute."""
    found = database.due_threads.find(totals_of(project_id), {"threads": 1}, sort=[("_id", 1)], session=session)
    lists, number = dict[str, list[str]](), 0
    async for each in found.limit(_MAX_LISTS):
        lists[each["_id"]] = each["threads"]
        number += len(each["threads"])
        if number > _MAX_THREADS:
            break
    return lists


async def _end(
    database: Database, project_id: str, lists: Mapping[str, list[str]], computed: Collection[str], session: Session
) -> None:
    """Remove computed threads from the lists of those that are due."""
    changes: list[Any] = []
    for name, threads in lists.items():
        key, rest = {"_id": name, "project_id": project_id}, [each for each in threads if each not in computed]
        if len(rest) < len(threads):
            changes.append(UpdateOne(key, {"$set": {"threads": rest}}) if rest else DeleteOne(key))
    await database.due_threads.bulk_write(changes, ordered=False, session=session)


def _total(turns: Sequence[Document]) -> Document | None:
    """Return the values of a thread, or `stale` if its calls must be read; None if none of its turns has ended.

    Each turn is in a document of its trace, and those of a trace follow each other.
    """
    if len(turns) > MAX_TURNS or any(NUM_CALLS not in each or WITHOUT_TIMES in each for each in turns):
        return {"stale": True}
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
