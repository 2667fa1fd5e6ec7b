"""Tables in the API: creation, updates, reads and errors."""

from typing import Any

import pytest

from stores import digests
from tests.graphql_schema.conftest import Run

ROWS: list[dict[str, Any]] = [{"a": 1, "n": {"x": 3}}, {"a": 2, "n": {"x": 1}}, {"a": 1, "n": {"x": 3}}, {"a": "z"}]
DIGEST = "9bea9554ea9cbeee6cf099cd2fa6038a00d56ada76d6a976395387437ea9dac0"
ROW_DIGESTS = [digests.object_digest(row) for row in ROWS]
CREATE = "mutation ($table: TableSchemaForInsert!) { tableCreate(table: $table) { digest rowDigests } }"
FROM_DIGESTS = """
    mutation ($rows: [String!]!) {
        tableCreateFromDigests(projectId: "acme/chat", rowDigests: $rows) { digest }
    }
"""
UPDATE = """
    mutation ($base: String!, $updates: [TableUpdateSpec!]!) {
        tableUpdate(projectId: "acme/chat", baseDigest: $base, updates: $updates) { digest updatedRowDigests }
    }
"""
ROWS_OF = """
    query ($digest: String!, $filter: TableRowFilter, $query: QueryInput, $sortBy: [SortBy!], $first: Int,
            $after: String, $last: Int, $before: String, $offset: Int) {
        tableRows(projectId: "acme/chat", digest: $digest, filter: $filter, query: $query, sortBy: $sortBy,
                first: $first, after: $after, last: $last, before: $before, offset: $offset) {
            totalCount
            nodes { digest val originalIndex }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }
"""
STATS = """
    query ($digest: String!) {
        tableStats(projectId: "acme/chat", digest: $digest) { digest count storageSizeBytes }
    }
"""


@pytest.fixture
async def table(run: Run) -> str:
    """Create a table of `ROWS` and return its digest."""
    answer = await run(CREATE, table={"projectId": "acme/chat", "rows": ROWS})
    digest: str = answer.data["tableCreate"]["digest"]
    return digest


async def indexes(run: Run, digest: str, **options: Any) -> list[int]:
    answer = await run(ROWS_OF, digest=digest, **options)
    assert answer.errors == []
    return [node["originalIndex"] for node in answer.data["tableRows"]["nodes"]]


async def test_table_is_created_and_read(run: Run) -> None:
    created = await run(CREATE, table={"projectId": "acme/chat", "rows": ROWS})
    again = await run(FROM_DIGESTS, rows=ROW_DIGESTS)
    read = await run(ROWS_OF, digest=DIGEST)

    assert created.data == {"tableCreate": {"digest": DIGEST, "rowDigests": ROW_DIGESTS}}
    assert again.data == {"tableCreateFromDigests": {"digest": DIGEST}}
    found = read.data["tableRows"]
    assert found["totalCount"] == 4
    assert found["nodes"] == [
        {"digest": digest, "val": row, "originalIndex": at}
        for at, (digest, row) in enumerate(zip(ROW_DIGESTS, ROWS, strict=True))
    ]


async def test_rows_are_filtered_queried_and_sorted(run: Run, table: str) -> None:
    by_x = [{"field": "n.x", "direction": "DESC"}]
    is_one = {"expr": {"eq": [{"getField": "val.a"}, {"literal": 1}]}}
    is_first = {"json": {"$expr": {"$eq": [{"$getField": "digest"}, {"$literal": ROW_DIGESTS[0]}]}}}

    assert await indexes(run, table, sortBy=by_x) == [2, 0, 1, 3]
    assert await indexes(run, table, sortBy=[{"field": "a", "direction": "DESC"}]) == [1, 2, 0, 3]
    assert await indexes(run, table, query=is_one) == [0, 2]
    assert await indexes(run, table, query=is_first) == [0, 2]
    assert await indexes(run, table, filter={"rowDigests": ROW_DIGESTS[1:3]}) == [0, 1, 2]
    assert await indexes(run, table, filter={"rowDigests": []}) == [0, 1, 2, 3]
    assert await indexes(run, table, filter={"rowDigests": ROW_DIGESTS[1:3]}, query=is_one, sortBy=by_x) == [2, 0]
    counted = await run(ROWS_OF, digest=table, query=is_one, first=1)
    assert counted.data["tableRows"]["totalCount"] == 2


async def test_pages_go_both_ways(run: Run, table: str) -> None:
    first = await run(ROWS_OF, digest=table, first=2, offset=1)
    info = first.data["tableRows"]["pageInfo"]

    assert [node["originalIndex"] for node in first.data["tableRows"]["nodes"]] == [1, 2]
    assert (info["hasNextPage"], info["hasPreviousPage"]) == (True, True)
    assert await indexes(run, table, first=2, after=info["endCursor"]) == [3]
    assert await indexes(run, table, last=2, before=info["endCursor"]) == [0, 1]
    assert await indexes(run, table, last=2) == [2, 3]
    assert await indexes(run, table, first=0) == []


async def test_row_values_are_read_by_path(run: Run, table: str) -> None:
    answer = await run(
        'query ($digest: String!) { tableRows(projectId: "acme/chat", digest: $digest) '
        '{ edges { cursor node { x: val(path: "n.x") } } } }',
        digest=table,
    )

    edges = answer.data["tableRows"]["edges"]
    assert [edge["node"]["x"] for edge in edges] == [3, 1, 3, None]
    assert len({edge["cursor"] for edge in edges}) == 4


async def test_update_creates_another_table(run: Run, table: str) -> None:
    updates = [{"append": {"row": {"b": 1}}}, {"pop": {"index": 0}}, {"insert": {"index": 0, "row": {"c": 1}}}]

    answer = await run(UPDATE, base=table, updates=updates)

    updated = answer.data["tableUpdate"]
    assert updated["updatedRowDigests"] == [
        digests.object_digest({"b": 1}),
        ROW_DIGESTS[0],
        digests.object_digest({"c": 1}),
    ]
    read = await run(ROWS_OF, digest=updated["digest"])
    assert [node["val"] for node in read.data["tableRows"]["nodes"]] == [{"c": 1}, *ROWS[1:], {"b": 1}]
    assert await indexes(run, table) == [0, 1, 2, 3]
    assert (await run(UPDATE, base=table, updates=[])).data["tableUpdate"] == {"digest": table, "updatedRowDigests": []}


async def test_tables_have_row_counts_and_sizes(run: Run, table: str) -> None:
    several = 'query ($digests: [String!]) { tablesStats(projectId: "acme/chat", digests: $digests) { digest count } }'

    one = await run(STATS, digest=table)
    some = await run(several, digests=[table, "none", table])

    assert one.data["tableStats"] == {"digest": table, "count": 4, "storageSizeBytes": 23 + 23 + 23 + 10}
    assert some.data["tablesStats"] == [{"digest": table, "count": 4}]
    assert (await run(several)).data["tablesStats"] == []
    assert (await run(several, digests=None)).data["tablesStats"] == []


async def test_unknown_table_is_empty_null_or_not_found(run: Run) -> None:
    read = await run(ROWS_OF, digest="none")
    stats = await run(STATS, digest="none")
    update = await run(UPDATE, base="none", updates=[{"pop": {"index": 0}}])

    assert read.data["tableRows"]["nodes"] == []
    assert stats == ({"tableStats": None}, [])
    assert update.errors[0]["extensions"] == {"code": "NOT_FOUND", "argument": "baseDigest"}


@pytest.mark.parametrize(
    ("update", "argument"),
    [
        ({"pop": {"index": 4}}, "updates.1.pop.index"),
        ({"pop": {"index": -1}}, "updates.1.pop.index"),
        ({"insert": {"index": 5, "row": {}}}, "updates.1.insert.index"),
        ({"insert": {"index": 0, "row": []}}, "updates.1.insert.row"),
        ({"append": {"row": "text"}}, "updates.1.append.row"),
    ],
)
async def test_invalid_update_is_named(run: Run, table: str, update: dict[str, Any], argument: str) -> None:
    answer = await run(UPDATE, base=table, updates=[{"pop": {"index": 3}}, update])

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}


@pytest.mark.parametrize(
    "update", [{}, {"drop": {"index": 0}}, {"pop": {"index": 0}, "append": {"row": {}}}, {"pop": {}}]
)
async def test_update_is_exactly_one_of_the_three(run: Run, table: str, update: dict[str, Any]) -> None:
    answer = await run(UPDATE, base=table, updates=[update])

    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}


@pytest.mark.parametrize(
    ("document", "variables", "argument"),
    [
        (CREATE, {"table": {"projectId": "acme", "rows": []}}, "table.projectId"),
        (CREATE, {"table": {"projectId": "acme/chat", "rows": [{}, [1]]}}, "table.rows.1"),
        (FROM_DIGESTS, {"rows": [ROW_DIGESTS[0], "nope"]}, "rowDigests.1"),
        (ROWS_OF, {"digest": DIGEST, "sortBy": [{"field": "a..b", "direction": "ASC"}]}, "sortBy.0.field"),
        (ROWS_OF, {"digest": DIGEST, "first": -1}, "first"),
        (ROWS_OF, {"digest": DIGEST, "after": "nonsense"}, "after"),
        (ROWS_OF, {"digest": DIGEST, "filter": {"rowDigests": ["x"] * 10_001}}, "filter.rowDigests"),
    ],
)
async def test_invalid_input_is_named(run: Run, document: str, variables: dict[str, Any], argument: str) -> None:
    answer = await run(document, **variables)

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
