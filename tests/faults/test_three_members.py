"""Faults of a replica set, its network and its servers: no acknowledged data is lost, and all data is complete.

`python -m tests.faults` causes each fault separately and for longer.
"""

import asyncio
from contextlib import closing
from functools import partial

from app.background import MigrationRunner
from stores.calls import CallsStore
from stores.calls.documents import DERIVED_FIELDS
from stores.database import Database
from stores.migrations.calls_backfill import CallsBackfill
from tests.faults import faults
from tests.faults.stage import Three
from tests.faults.watching import watched
from tests.stores.calls.builders import call_id, end, start
from tests.waiting import DATABASE_TIMEOUT, TIMEOUT, until

CALLS = 200
SUMMARY = {"usage": {"gpt-4o": {"prompt_tokens": 1_000, "completion_tokens": 7, "requests": 1}}}

LOSSES = [fault for fault in faults.LOSSES if fault.is_short]
REFUSALS = [fault for fault in faults.REFUSALS if fault.is_short]


async def test_network_faults_lose_no_data(stage: Three) -> None:
    toxics = [fault for fault in faults.ON_THE_WIRE if fault.is_short]

    row = await stage.behind_proxy.run("toxics", partial(faults.in_turn, toxics, stage.proxy), 0)

    row.check()
    assert row.seen["UNAVAILABLE"] > 0


async def test_mongodb_errors_lose_no_data(stage: Three) -> None:
    row = await stage.trial.run("refusals", partial(faults.in_turn, REFUSALS, stage.members), 0)

    row.check()
    assert row.seen["UNAVAILABLE"] > 0
    assert row.seen["TIMEOUT"] > 0  # from slow reads


async def test_member_failures_lose_no_event(stage: Three) -> None:
    async with watched(stage.uri):
        row = await stage.trial.run("losses", partial(faults.in_turn, LOSSES, stage.members), 0)

    row.check()


async def test_server_restarts_lose_no_data_and_every_ordered_evaluation_finishes(stage: Three) -> None:
    done = partial(faults.in_turn, faults.OF_SERVERS, stage.trial.server)
    assert stage.trial.evaluations is not None
    ordered = len(stage.trial.evaluations.acknowledged)  # by earlier tests, whose runs are checked, too

    row = await stage.trial.run("ends of the server", done, 0, server_may_go=True)

    row.check()
    assert row.seen["connection lost"] > 0
    assert len(stage.trial.evaluations.acknowledged) >= ordered + 2  # one before the faults, one after them
    assert await stage.trial.lost_evaluations() == []


async def test_migration_interrupted_repeatedly_fills_in_every_call(stage: Three) -> None:
    # given calls as an older version stored them
    with closing(Database.open(stage.uri, "upgraded", timeout_seconds=DATABASE_TIMEOUT)) as database:
        await database.ensure_indexes()
        written = [start(number, thread_id="talk", turn_id=call_id(number)) for number in range(CALLS)]
        await CallsStore(database).write([*written, *(end(number, summary=SUMMARY) for number in range(CALLS))])
        whole = await database.calls.find({}, sort=[("_id", 1)]).to_list(None)
        await database.calls.update_many({}, {"$unset": dict.fromkeys(DERIVED_FIELDS, "")})
        # when
        upgrading = MigrationRunner(database)
        upgrading._backfill = CallsBackfill(database, step=1)
        finishing = asyncio.create_task(upgrading.finish())
        await until(lambda: upgrading.progress is not None and upgrading.progress.looked_at > 0)
        # the first of these faults makes the primary step down
        async with faults.in_turn([faults.LOSSES[0], *REFUSALS[::3]], stage.members):
            # then
            async with asyncio.timeout(TIMEOUT):
                await finishing
        assert await database.calls.find({}, sort=[("_id", 1)]).to_list(None) == whole
        assert await CallsBackfill(database).advance() is None
