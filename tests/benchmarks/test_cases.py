"""Both sides of each case return the same page, on calls of the stated size."""

from stores.calls import CallsStore
from stores.database import Database
from tests.benchmarks.cases import Pipeline, cases
from tests.benchmarks.stock import PROJECT, batches

COUNT = 1000


async def test_both_sides_of_each_case_return_the_same_page(calls: CallsStore, database: Database) -> None:
    async def ids(pipeline: Pipeline) -> list[str]:
        return [row["id"] for row in await database.calls.aggregate(pipeline).to_list(None)]

    for batch in batches(COUNT):
        await calls.write(batch)

    for case in cases(COUNT):
        found = await ids(case.by_hand)
        assert found, case.name
        assert await ids(case.compiled) == found, case.name


async def test_call_is_about_two_kilobytes(calls: CallsStore, database: Database) -> None:
    for batch in batches(COUNT):
        await calls.write(batch)

    mean = {"$group": {"_id": "$project_id", "bytes": {"$avg": "$storage_size_bytes"}}}
    [found] = await database.calls.aggregate([mean]).to_list(None)

    assert found["_id"] == PROJECT
    assert 1800 < found["bytes"] < 2400
