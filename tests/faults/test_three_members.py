"""A replica set of three, the wire to it, and the server over it fail: what was acknowledged is there, all else whole.

`python -m tests.faults` does the same for longer, and each fault by itself.
"""

from collections import Counter
from functools import partial

import pytest

from tests.faults import deeds
from tests.faults.bench import Bench, Row
from tests.faults.deeds import Fault
from tests.faults.stage import Three

REFUSALS = [fault for fault in deeds.ON_REPLICA_SETS if fault.short_seconds < 1 and fault.is_short][1:]
LOSSES = [fault for fault in deeds.ON_REPLICA_SETS if fault.is_short and fault not in REFUSALS]


def check(row: Row) -> None:
    """See that nobody saw anything wrong, and that nothing is lost."""
    assert row.wrong == Counter()
    assert row.lost == []
    assert row.seen.keys() <= {"acknowledged", "UNAVAILABLE", "TIMEOUT", "connection lost"}


async def short(bench: Bench, fault: Fault, target: object) -> Row:
    done = partial(fault.do, target)
    return await bench.run(fault.name, done, fault.short_seconds, server_may_go=fault.server_may_go)


async def test_the_wire_is_toxic_in_one_way_after_the_other(stage: Three) -> None:
    toxics = [fault for fault in deeds.ON_THE_WIRE if fault.is_short]

    row = await stage.behind_proxy.run("toxics", partial(deeds.in_turn, toxics, stage.proxy), 0)

    check(row)
    assert row.seen["UNAVAILABLE"] > 0


async def test_mongodb_refuses_in_one_way_after_the_other(stage: Three) -> None:
    row = await stage.bench.run("refusals", partial(deeds.in_turn, REFUSALS, stage.members), 0)

    check(row)
    assert row.seen["UNAVAILABLE"] > 0


@pytest.mark.parametrize("fault", LOSSES, ids=str)
async def test_the_members_fail(stage: Three, fault: Fault) -> None:
    check(await short(stage.bench, fault, stage.members))


@pytest.mark.parametrize("fault", deeds.OF_SERVERS, ids=str)
async def test_the_server_is_ended_and_started_again(stage: Three, fault: Fault) -> None:
    row = await short(stage.bench, fault, stage.bench.server)

    check(row)
    assert row.seen["connection lost"] > 0


async def test_the_evaluations_that_were_ordered_meanwhile_came_to_their_end(stage: Three) -> None:
    assert stage.bench.evaluations is not None
    assert len(stage.bench.evaluations.acknowledged) >= 1 + 1 + len(LOSSES) + len(deeds.OF_SERVERS)
    assert await stage.bench.lost_evaluations() == []
