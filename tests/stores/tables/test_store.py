"""Tests of what the store of tables stores, shares, counts and refuses."""

import asyncio
import json
from typing import Any

import pytest

from stores import digests
from stores.database import Database, content_store
from stores.errors import BadInputError, NotFoundError, PayloadTooLargeError, StoreError
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.tables import Append, Insert, Pop, RowFilter, TablesStore, TableUpdate
from tests.commands import Commands
from tests.stores.tables.reading import PROJECT, read_all, values

ROWS: list[dict[str, Any]] = [{"a": 1, "n": {"x": 3}}, {"a": 2, "n": {"x": 1}}, {"a": 1, "n": {"x": 3}}, {"a": "z"}]
ROWS_DIGEST = "9bea9554ea9cbeee6cf099cd2fa6038a00d56ada76d6a976395387437ea9dac0"
EMPTY_DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNKNOWN = "U" * 43
BOTH = ["count", "storage_size_bytes"]


def numbered(count: int, start: int = 0) -> list[object]:
    return [{"i": number} for number in range(start, start + count)]


async def documents(database: Database) -> list[int]:
    """Return the numbers of stored rows, chunks and tables."""
    stored = (database.table_rows, database.table_chunks, database.tables)
    return [await collection.count_documents({}) for collection in stored]


async def test_table_digests_match_those_of_weave(tables: TablesStore) -> None:
    digest, row_digests = await tables.create(PROJECT, ROWS)

    assert digest == ROWS_DIGEST
    assert row_digests == [digests.object_digest(row) for row in ROWS]
    assert await read_all(tables, digest) == list(enumerate(ROWS))
    assert (await tables.create(PROJECT, []))[0] == EMPTY_DIGEST
    assert await read_all(tables, EMPTY_DIGEST) == []


async def test_repeated_create_writes_nothing(database: Database, tables: TablesStore, commands: Commands) -> None:
    first = await tables.create(PROJECT, ROWS)
    before = await documents(database)
    commands.sent.clear()

    assert await tables.create(PROJECT, ROWS) == first
    assert await tables.create_from_digests(PROJECT, first[1]) == first[0]
    assert await documents(database) == before == [3, 1, 1]
    assert "insert" not in commands.names


async def test_rows_are_read_as_written(tables: TablesStore) -> None:
    text = '{"z":1,"a":1.0,"$where":{"b.c":[null,123456789012345678901234567890]},"":"ü"}'

    digest, _ = await tables.create(PROJECT, [json.loads(text)])

    page = await tables.page(PROJECT, digest, PageRequest(), ["val"])
    assert page.rows[0]["json"]["val"] == text


async def test_tables_share_rows_and_chunks(database: Database, tables: TablesStore) -> None:
    # given
    first, row_digests = await tables.create(PROJECT, numbered(5_000))
    rows, chunks, _ = await documents(database)
    # when
    appended, _ = await tables.update(PROJECT, first, [Append({"i": "new"})])
    await tables.update(PROJECT, first, [Insert(2_500, {"i": 7})])
    await tables.update(PROJECT, first, [Pop(0)])
    # then
    assert rows == 5_000
    assert await database.table_rows.count_documents({}) == 5_001
    assert 1 <= await database.table_chunks.count_documents({}) - chunks <= 7
    assert await database.tables.count_documents({}) == 4
    # a table of nearly the same rows, created in another way, shares most chunks
    chunks = await database.table_chunks.count_documents({})
    await tables.create(PROJECT, [*numbered(3_000), {"i": 0}, *numbered(2_000, 3_000)])
    assert await database.table_chunks.count_documents({}) - chunks <= 3
    assert await tables.create_from_digests(PROJECT, [*row_digests, digests.object_digest({"i": "new"})]) == appended


async def test_append_writes_only_new_rows_and_chunks(
    database: Database, tables: TablesStore, commands: Commands
) -> None:
    digest, _ = await tables.create(PROJECT, numbered(10_000))
    commands.sent.clear()

    await tables.update(PROJECT, digest, [Append({"i": 1}), Append({"i": "new"})])

    inserted = [len(body["documents"]) for name, body in commands.sent if name == "insert"]
    assert sum(inserted) <= 3
    assert [name for name in commands.names if name == "update"] == ["update"]
    assert await database.table_rows.count_documents({}) == 10_001


@pytest.mark.parametrize("depth", [0, 40_000, 89_000])
async def test_page_reads_the_same_amount_at_any_offset(tables: TablesStore, commands: Commands, depth: int) -> None:
    rows = [{"i": number % 1_000} for number in range(90_000)]
    digest, _ = await tables.create(PROJECT, rows)
    at = await tables.page(PROJECT, digest, PageRequest(1, offset=depth), [])
    commands.sent.clear()

    page = await tables.page(PROJECT, digest, PageRequest(100, at.cursor(at.rows[0])), ["val"])

    assert values(page) == list(enumerate(rows))[depth + 1 : depth + 101]
    assert commands.names == ["find"] * 3
    chunks, found = [body["filter"]["_id"]["$in"] for name, body in commands.sent[1:] if name == "find"]
    assert len(chunks) <= 2
    assert len(found) == 101


async def test_filtered_page_reads_only_the_values_it_returns(tables: TablesStore, commands: Commands) -> None:
    digest, row_digests = await tables.create(PROJECT, numbered(20_000))
    one = Query({"$expr": {"$eq": [{"$getField": "val.i"}, {"$literal": 11_000}]}})
    commands.sent.clear()

    page = await tables.page(PROJECT, digest, PageRequest(1), ["val"], query=one)

    assert (values(page), page.has_next) == ([(11_000, {"i": 11_000})], False)
    filters = [body["filter"] for name, body in commands.sent if name == "find" and "json.val" in body["projection"]]
    keys = [key for match in filters for key in match["$and"][0]["_id"]["$in"]]
    assert keys == [f"{PROJECT}:{row_digests[11_000]}"]


async def test_missing_rows_count_and_appear_when_written(tables: TablesStore) -> None:
    # given
    _, [one, other] = await tables.create(PROJECT, [{"i": 1}, {"i": 2}])
    late = digests.object_digest({"late": True})
    digest = await tables.create_from_digests(PROJECT, [UNKNOWN, one, late, UNKNOWN, other, one])
    # then
    assert await read_all(tables, digest) == [(1, {"i": 1}), (4, {"i": 2}), (5, {"i": 1})]
    assert await read_all(tables, digest, sort_by=[SortBy("i", descending=True)]) == [
        (4, {"i": 2}),
        (5, {"i": 1}),
        (1, {"i": 1}),
    ]
    assert await tables.count(PROJECT, digest) == 6
    assert await tables.count(PROJECT, digest, RowFilter([one, UNKNOWN])) == 2
    sizes = await tables.stats_of_one(PROJECT, digest, BOTH)
    assert sizes == {"digest": digest, "count": 6, "storage_size_bytes": 3 * len('{"i": 1}')}
    # when
    await tables.create(PROJECT, [{"late": True}])
    # then
    assert (2, {"late": True}) in await read_all(tables, digest)
    assert (await tables.stats_of_one(PROJECT, digest, BOTH))["storage_size_bytes"] == 3 * 8 + len('{"late": true}')
    # a page continues after missing rows
    page = await tables.page(PROJECT, digest, PageRequest(2), ["val"])
    assert (values(page), page.has_next) == ([(1, {"i": 1}), (2, {"late": True})], True)
    page = await tables.page(PROJECT, digest, PageRequest(1, page.cursor(page.rows[-1])), ["val"])
    assert (values(page), page.has_next) == ([(4, {"i": 2})], True)


async def test_table_whose_rows_never_arrived_has_an_empty_page(tables: TablesStore) -> None:
    digest = await tables.create_from_digests(PROJECT, [UNKNOWN] * 5_000)

    page = await tables.page(PROJECT, digest, PageRequest(10), ["val"])

    assert (page.rows, page.has_next) == ([], False)
    updated, [popped] = await tables.update(PROJECT, digest, [Pop(17)])
    assert popped == UNKNOWN
    assert await tables.stats_of_one(PROJECT, updated, BOTH) == {
        "digest": updated,
        "count": 4_999,
        "storage_size_bytes": 0,
    }


async def test_projects_do_not_share_rows(tables: TablesStore) -> None:
    digest, row_digests = await tables.create(PROJECT, ROWS)

    other = await tables.create_from_digests("acme/other", row_digests)

    assert other == digest
    assert (await tables.page("acme/other", digest, PageRequest(), ["val"])).rows == []
    assert await tables.stats("acme/none", [digest], BOTH) == []


async def test_unknown_table_has_no_rows_stats_or_updates(tables: TablesStore) -> None:
    assert await read_all(tables, "none") == []
    assert await read_all(tables, "none", sort_by=[SortBy("a")]) == []
    assert await tables.count(PROJECT, "none") == 0
    with pytest.raises(NotFoundError, match="no table 'none'") as stats:
        await tables.stats_of_one(PROJECT, "none", BOTH)
    with pytest.raises(NotFoundError, match="no table 'none'") as update:
        await tables.update(PROJECT, "none", [])
    assert (stats.value.argument, update.value.argument) == ("digest", "base_digest")


async def test_stats_list_each_existing_table_once(tables: TablesStore) -> None:
    digest, _ = await tables.create(PROJECT, ROWS)
    empty, _ = await tables.create(PROJECT, [])

    found = await tables.stats(PROJECT, [empty, "none", digest, empty], BOTH)

    assert found == [
        {"digest": empty, "count": 0, "storage_size_bytes": 0},
        {"digest": digest, "count": 4, "storage_size_bytes": sum(len(json.dumps(row)) for row in ROWS)},
    ]
    assert await tables.stats(PROJECT, [], BOTH) == []
    with pytest.raises(BadInputError, match="the limit is 1,000"):
        await tables.stats(PROJECT, ["x"] * 1_001, BOTH)


async def test_update_returns_the_digest_of_each_row(tables: TablesStore) -> None:
    digest, row_digests = await tables.create(PROJECT, ROWS)

    updated, row_results = await tables.update(
        PROJECT, digest, [Pop(1), Insert(3, {"last": 1}), Append({"more": 1}), Pop(0), Insert(0, {"first": 1})]
    )

    rows = [{"first": 1}, ROWS[2], ROWS[3], {"last": 1}, {"more": 1}]
    assert await read_all(tables, updated) == list(enumerate(rows))
    came = [digests.object_digest(row) for row in ({"last": 1}, {"more": 1}, {"first": 1})]
    assert row_results == [row_digests[1], came[0], came[1], row_digests[0], came[2]]
    assert await tables.update(PROJECT, digest, []) == (digest, [])
    # a row that is added and removed in one update is in no table
    assert (await tables.update(PROJECT, digest, [Append({"x": 1}), Pop(4)]))[0] == digest


@pytest.mark.parametrize(
    ("updates", "argument"),
    [
        ([Pop(4)], "updates.0.pop.index"),
        ([Pop(-1)], "updates.0.pop.index"),
        ([Append({}), Insert(6, {})], "updates.1.insert.index"),
        ([Insert(-1, {})], "updates.0.insert.index"),
        ([Pop(0), Pop(0), Pop(0), Pop(0), Pop(0)], "updates.4.pop.index"),
        ([Append([1])], "updates.0.append.row"),
        ([Append({}), Insert(0, "text")], "updates.1.insert.row"),
    ],
)
async def test_invalid_update_is_named_and_nothing_is_stored(
    database: Database, tables: TablesStore, updates: list[TableUpdate], argument: str
) -> None:
    digest, _ = await tables.create(PROJECT, ROWS)
    before = await documents(database)

    with pytest.raises(BadInputError) as refused:
        await tables.update(PROJECT, digest, updates)

    assert refused.value.argument == argument
    assert await documents(database) == before


@pytest.mark.parametrize(
    ("row", "error", "reason"),
    [
        ([1], BadInputError, "must be a JSON object"),
        (None, BadInputError, "must be a JSON object"),
        ({"n": 10**308}, BadInputError, "308 digits"),
        (
            {"to": ["weave-trace-internal:///x"]},
            BadInputError,
            "is reserved for internal refs; write refs with weave:///",
        ),
        ({"text": "x" * 9_000_000}, PayloadTooLargeError, "the limit is 16,000,000"),
    ],
    ids=["a list", "null", "a long integer", "a ref of the inside", "too large"],
)
async def test_invalid_row_is_named_and_nothing_is_stored(
    database: Database, tables: TablesStore, row: object, error: type[StoreError], reason: str
) -> None:
    with pytest.raises(error, match=reason) as refused:
        await tables.create(PROJECT, [*ROWS, row])

    assert refused.value.argument == "table.rows.4"
    assert await documents(database) == [0, 0, 0]


async def test_row_may_contain_the_reserved_scheme(tables: TablesStore) -> None:
    rows = [{"text": "see weave-trace-internal:///x"}, {"weave-trace-internal:///x": 1}]

    digest, _ = await tables.create(PROJECT, rows)

    assert await read_all(tables, digest) == list(enumerate(rows))


async def test_large_row_is_stored(tables: TablesStore) -> None:
    row = {"text": "x" * 7_000_000, "many": [0] * 50_000}

    digest, _ = await tables.create(PROJECT, [row])

    assert await read_all(tables, digest) == [(0, row)]


@pytest.mark.parametrize("digest", ["", "nope", "x" * 44, "x" * 86, "é" * 43, "x" * 42 + "-"])
async def test_malformed_row_digest_is_refused(tables: TablesStore, digest: str) -> None:
    with pytest.raises(BadInputError, match="43 letters and digits") as refused:
        await tables.create_from_digests(PROJECT, [UNKNOWN, digest])

    assert refused.value.argument == "row_digests.1"


@pytest.mark.parametrize("path", ["", " ", ".", ".a", "a.", "a..b", "a. .b"])
async def test_sort_without_a_path_is_refused(tables: TablesStore, path: str) -> None:
    digest, _ = await tables.create(PROJECT, ROWS)

    with pytest.raises(BadInputError, match="not a path into rows") as refused:
        await tables.page(PROJECT, digest, PageRequest(), ["val"], sort_by=[SortBy("a"), SortBy(path)])

    assert refused.value.argument == "sort_by.1.field"


async def test_sort_key_may_contain_a_dot(tables: TablesStore) -> None:
    rows: list[dict[str, Any]] = [{".": 2, "a. ": 1, "a": {" ": 3}}, {".": 1, "a. ": 2, "a": {" ": 2}}]
    digest, _ = await tables.create(PROJECT, rows)

    for path, expected in (("\\.", [1, 0]), (r"a\. ", [0, 1])):
        found = await read_all(tables, digest, sort_by=[SortBy(path)])
        assert [position for position, _ in found] == expected


async def test_unknown_field_and_too_long_filter_are_refused(tables: TablesStore) -> None:
    query = Query({"$expr": {"$eq": [{"$getField": "a"}, {"$literal": 1}]}})

    with pytest.raises(BadInputError, match="there is no field 'a'"):
        await read_all(tables, ROWS_DIGEST, query=query)
    with pytest.raises(BadInputError, match="the limit is 10,000"):
        await read_all(tables, ROWS_DIGEST, row_filter=RowFilter([UNKNOWN] * 10_001))


async def test_cursor_is_valid_only_for_its_list(tables: TablesStore) -> None:
    digest, row_digests = await tables.create(PROJECT, ROWS)
    other, _ = await tables.create(PROJECT, ROWS[:3])
    page = await tables.page(PROJECT, digest, PageRequest(1), ["val"])
    request = PageRequest(1, page.cursor(page.rows[0]))

    assert values(await tables.page(PROJECT, digest, request, ["val"])) == [(1, ROWS[1])]
    for table, options in (
        (other, {}),
        (digest, {"row_filter": RowFilter(row_digests)}),
        (digest, {"sort_by": [SortBy("a")]}),
    ):
        with pytest.raises(BadInputError, match="not a cursor of this query"):
            await tables.page(PROJECT, table, request, ["val"], **options)


async def test_writers_of_equal_content_do_not_conflict(database: Database, tables: TablesStore) -> None:
    rows = numbered(2_000)

    made = await asyncio.gather(*(tables.create(PROJECT, rows) for _ in range(8)))
    changed = await asyncio.gather(*(tables.update(PROJECT, made[0][0], [Append({"by": by % 2})]) for by in range(8)))

    assert len({digest for digest, _ in made}) == 1
    assert len({digest for digest, _ in changed}) == 2
    assert await database.table_rows.count_documents({}) == 2_002
    assert await database.tables.count_documents({}) == 3


@pytest.mark.parametrize(
    ("at_once", "left"), [(content_store.BATCH, [0, 0, 0]), (2, [2, 0, 0])], ids=["whole", "in parts"]
)
async def test_table_without_its_last_write_is_missing_and_can_be_recreated(
    database: Database, tables: TablesStore, monkeypatch: pytest.MonkeyPatch, at_once: int, left: list[int]
) -> None:
    class Torn(BaseException):  # simulates a kill
        pass

    async def tear(*_: object) -> None:
        raise Torn

    monkeypatch.setattr("stores.database.content_store.BATCH", at_once)
    monkeypatch.setattr("stores.tables.documents.Layout.write", tear)
    with pytest.raises(Torn):
        await tables.create(PROJECT, ROWS)
    monkeypatch.undo()

    assert await documents(database) == left
    assert await read_all(tables, ROWS_DIGEST) == []
    assert (await tables.create(PROJECT, ROWS))[0] == ROWS_DIGEST
    assert await read_all(tables, ROWS_DIGEST) == list(enumerate(ROWS))
