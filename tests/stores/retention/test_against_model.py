"""Tests that sweeps and previews after random histories match a plain Python model."""

import random

import pytest

from stores.database import Database
from stores.files import FilesStore
from stores.retention import Counts, GracePeriods, Outcome, RetentionStore, Rule
from stores.retention.rules import COUNTS, DAY
from stores.times import now
from tests.stores.calls.builders import PROJECT
from tests.stores.retention.life import Life
from tests.stores.retention.model import contents, expected

RULES = (Rule(keep_days=3), Rule(keep_calls=12), Rule(7, 15), Rule(keep_days=1), Rule(keep_calls=1), Rule(2, 1000))
PATIENCE = GracePeriods(deleted=5 * DAY)


@pytest.mark.parametrize("seed", range(6))
async def test_sweep_result_matches_the_model(database: Database, seed: int) -> None:
    # given
    life = Life(database, seed)
    await life.live(60)
    retention = RetentionStore(database, PATIENCE, large=random.Random(seed).choice((3, 100)))
    before = await contents(database, PROJECT)
    # when
    foreseen = {rule: await retention.preview(PROJECT, rule, COUNTS) for rule in RULES}
    unchanged = await contents(database, PROJECT)
    rule = RULES[seed]
    await retention.set_rule(PROJECT, rule)
    report = await retention.sweep(PROJECT, pause=0)
    # then
    assert unchanged == before
    for each in RULES:
        assert without_orphans(foreseen[each]) == without_orphans(expected(before, each, PATIENCE, life.now)[1])
    left, counts = expected(before, rule, PATIENCE, now())
    after = await contents(database, PROJECT)
    assert after.keys == left.keys
    assert after.chunks == {key for key, file in after.files.items() if file["length"]}
    assert (report.outcome, report.counts, report.error) == (Outcome.DONE, counts, None)
    assert counts.calls > 0
    assert await database.doomed_files.find_one() is None
    for file in after.files.values():
        files = FilesStore(database)
        assert len(await files.read(await files.one(PROJECT, file["digest"]))) == file["length"]


def without_orphans(counts: Counts) -> dict[str, int]:
    """Return the counts without feedback, because a preview does not look for feedback on calls that never existed."""
    return {name: getattr(counts, name) for name in COUNTS if name != "feedback"}


async def test_second_sweep_finds_nothing(database: Database) -> None:
    life = Life(database, 7)
    await life.live(40)
    retention = RetentionStore(database, PATIENCE)
    await retention.set_rule(PROJECT, Rule(keep_days=2))
    first = await retention.sweep(PROJECT, pause=0)
    between = await contents(database, PROJECT)

    second = await retention.sweep(PROJECT, pause=0)

    assert first.counts.calls > 0
    assert second.counts == Counts()
    assert (await contents(database, PROJECT)).keys == between.keys
    assert second.started_at >= (first.ended_at or now())
