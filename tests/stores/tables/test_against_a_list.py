"""Tests that tables on a real server match plain Python lists for random changes, pages, filters and sorts."""

import json
import random
from typing import Any

import pytest

from stores import digests
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.tables import Append, Insert, Pop, RowFilter, TablesStore, TableUpdate
from stores.tables.documents import read_layouts
from tests.chance import cases
from tests.stores.tables.reading import PROJECT, read_all, values

List = list[dict[str, Any]]


def any_row(chance: random.Random) -> dict[str, Any]:
    """Return one of a few rows, so that most repeat, with a key of any kind."""
    number = chance.randrange(40)
    key = [number, str(number), None, [number], number / 2, number % 3 == 0][number % 6]
    return {"n": {"x": key}, "of": number % 4} if number % 7 else {"of": number}


def any_update(chance: random.Random, rows: List) -> TableUpdate:
    """Return a random change, after applying it to the list."""
    kind = chance.choice(["append", "insert", "insert", "pop", "pop"] if rows else ["append", "insert"])
    row = any_row(chance)
    if kind == "append":
        rows.append(row)
        return Append(row)
    index = chance.randrange(len(rows) + (kind == "insert"))
    if kind == "insert":
        rows.insert(index, row)
        return Insert(index, row)
    rows.pop(index)
    return Pop(index)


def rank(row: dict[str, Any]) -> tuple[int, Any]:
    """Return the sort key of `n.x`: numbers, strings, other values, none; the last two are unordered."""
    value = row.get("n", {}).get("x")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (2, 0) if value is not None else (3, 0)


def value_of(item: tuple[int, dict[str, Any]]) -> float | str:
    value: float | str = rank(item[1])[1]
    return value


def is_picked(row: dict[str, Any]) -> bool:
    return row["of"] in (1, 2, 3)


PICKED = Query({"$expr": {"$in": [{"$getField": "val.of"}, [{"$literal": 1}, {"$literal": 2}, {"$literal": 3}]]}})


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("seed", range(6))
async def test_updates_match_those_of_a_list(database: Database, tables: TablesStore, seed: int) -> None:
    chance = random.Random(seed)
    rows = [any_row(chance) for _ in range(chance.choice([0, 1, 30, 200]))]
    digest, _ = await tables.create(PROJECT, rows)

    for _ in range(12):
        # when
        before, base = list(rows), digest
        updates = [any_update(chance, rows) for _ in range(chance.choice([1, 1, 2, 25]))]
        digest, updated = await tables.update(PROJECT, base, updates)
        # then
        assert digest == digests.table_digest(map(digests.object_digest, rows))
        assert len(updated) == len(updates)
        assert await read_all(tables, digest) == list(enumerate(rows))
        assert await read_all(tables, base) == list(enumerate(before))
        # its chunks equal those of a newly created table
        await tables.create("acme/fresh", rows)
        there, fresh = [(await read_layouts(database, name, [digest])).get(digest) for name in (PROJECT, "acme/fresh")]
        assert there
        assert fresh
        assert (there.chunks, there.starts, there.count) == (fresh.chunks, fresh.starts, len(rows))
        assert there.storage_size_bytes == fresh.storage_size_bytes == sum(len(json.dumps(row)) for row in rows)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("seed", range(cases(2)))
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", ["own order", "picked", "by digest", "sorted", "sorted down", "sorted and picked"])
async def test_pages_match_those_of_a_list(tables: TablesStore, seed: int, kind: str, *, backward: bool) -> None:
    # given
    chance = random.Random(seed)
    rows = [any_row(chance) for _ in range(150)]
    digest, row_digests = await tables.create(PROJECT, rows)
    options: dict[str, Any] = {}
    expected = list(enumerate(rows))
    if "picked" in kind:
        options["query"] = PICKED
        expected = [(at, row) for at, row in expected if is_picked(row)]
    if "digest" in kind:
        members = chance.sample(row_digests, 5)
        options["row_filter"] = RowFilter(members)
        expected = [(at, row) for at, row in expected if digests.object_digest(row) in members]
    if "sorted" in kind:
        down = kind.endswith("down")
        options["sort_by"] = [SortBy("n.x", descending=down)]
        expected = expected[::-1] if down else expected
        by_rank = [[item for item in expected if rank(item[1])[0] == number] for number in range(4)]
        expected = [item for group in by_rank for item in sorted(group, key=value_of, reverse=down)]
    # when
    found: list[tuple[int, Any]] = []
    cursor, size = None, chance.choice([4, 7, 40])
    for _ in range(200):
        page = await tables.page(PROJECT, digest, PageRequest(size, cursor, backward), ["val"], **options)
        found = values(page) + found if backward else found + values(page)
        if not (page.has_previous if backward else page.has_next):
            break
        cursor = page.cursor(page.rows[0 if backward else -1])
    # then
    assert found == expected
    assert await tables.count(PROJECT, digest, options.get("row_filter"), options.get("query")) == len(expected)
    skipped = await tables.page(PROJECT, digest, PageRequest(5, offset=20), ["val"], **options)
    assert values(skipped) == expected[20:25]


@pytest.mark.parametrize("seed", range(3))
async def test_table_of_many_chunks_is_read_and_changed_anywhere(tables: TablesStore, seed: int) -> None:
    chance = random.Random(seed)
    rows = [{"i": number, "of": chance.random()} for number in range(6_000)]
    digest, _ = await tables.create(PROJECT, rows)

    for at in (0, 3_000, 5_999):
        rows.insert(at, {"new": at})
        digest, _ = await tables.update(PROJECT, digest, [Insert(at, {"new": at})])
    for at in chance.sample(range(6_000), 20):
        page = await tables.page(PROJECT, digest, PageRequest(300, offset=at), ["val"])
        assert values(page) == list(enumerate(rows))[at : at + 300]


async def test_many_rows_inserted_at_one_index_stay_in_order(tables: TablesStore) -> None:
    updates = [Insert(0, {"i": number % 50}) for number in range(20_000)]
    digest, updated = await tables.update(PROJECT, (await tables.create(PROJECT, []))[0], updates)

    assert digest == digests.table_digest(reversed(updated))
    assert (await tables.stats_of_one(PROJECT, digest, ["count"]))["count"] == 20_000
    with pytest.raises(BadInputError):
        await tables.update(PROJECT, digest, [Pop(20_000)])
