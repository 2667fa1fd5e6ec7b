"""Random queries on the fields of roll-ups count the calls that the oracle finds."""

import pytest

from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS
from stores.calls.list_query import CallsQuery
from stores.database import Database
from stores.query import Query
from stores.query.parser import parse_query
from stores.rollups.settling import Settling
from tests.chance import SEED, cases
from tests.stores.calls.builders import PROJECT
from tests.stores.query.generator import Generator
from tests.stores.query.oracle import holds
from tests.stores.query.test_against_oracle import rows_of
from tests.stores.rollups.test_settling import settle, uses_rollups

pytestmark = pytest.mark.timings(mark_seconds=0.1)

QUERIES = cases(600)
NAMES = ("op_name", "opName", "status", "summary.weave.status", "started_at", "startedAt", "started_at")


async def test_random_queries_count_the_matching_calls(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(SEED)
    rows = await rows_of(calls, database, generator)
    await settle(Settling(database))
    assert await uses_rollups(calls)
    monkeypatch.setattr(generator, "name", lambda _rows: generator.dice.choice(NAMES))
    rolled_up = matched = 0

    for _ in range(QUERIES):
        tree = generator.query(rows)
        expected = sum(holds(parse_query(tree, CALL_FIELDS), row) for row in rows)

        assert await calls.count(PROJECT, query=Query(tree)) == expected, tree

        rolled_up += CallsQuery(database, PROJECT, query=Query(tree)).over_dimensions() is not None
        matched += expected

    assert rolled_up > QUERIES / 3
    assert matched > QUERIES * len(rows) / 10
