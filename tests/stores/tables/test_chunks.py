"""Tests of tables whose rows arrive in parts."""

from collections.abc import AsyncIterator, Sequence

import pytest

from stores.database import Database
from stores.errors import BadInputError
from stores.tables import TablesStore
from tests.stores.tables.reading import PROJECT, read_all

ROWS = [{"i": number % 7} for number in range(50)]


async def parts(rows: Sequence[object], size: int) -> AsyncIterator[Sequence[object]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("size", [1, 7, 100])
async def test_table_created_in_chunks_equals_one_created_at_once(
    tables: TablesStore, database: Database, size: int
) -> None:
    made = await tables.create_in_parts(PROJECT, parts(ROWS, size))
    [stored] = [row async for row in database.tables.find({}, {"_id": 0})]

    assert made == await tables.create(PROJECT, ROWS)
    assert [row async for row in database.tables.find({}, {"_id": 0})] == [stored]
    assert await read_all(tables, made[0]) == list(enumerate(ROWS))
    assert stored["storage_size_bytes"] == sum(len('{"i": 0}') for _ in ROWS)


async def test_refused_chunk_leaves_no_table(tables: TablesStore, database: Database) -> None:
    with pytest.raises(BadInputError) as caught:
        await tables.create_in_parts(PROJECT, parts([*ROWS, 7], 20))

    assert caught.value.argument == "table.rows.50"
    assert await database.tables.count_documents({}) == 0


async def test_chunks_without_rows_make_the_empty_table(tables: TablesStore) -> None:
    assert await tables.create_in_parts(PROJECT, parts([], 5)) == await tables.create(PROJECT, [])
