"""A short run of `tests.topologies.lost_primary`."""

from tests.topologies.cluster import Cluster
from tests.topologies.lost_primary import run_on


async def test_no_acknowledged_call_is_lost_while_a_primary_is_killed(running: Cluster, name: str) -> None:
    outcome = await run_on(running, name, seconds=8, every=1, away=2, settles=False)

    assert not outcome.wrong, outcome
    assert not outcome.lost, outcome
    assert outcome.kills == 1
    assert outcome.acknowledged >= 100
