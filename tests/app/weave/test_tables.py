"""Tests of tables at the Weave API over plain HTTP."""

import json
from typing import Any

import httpx
import pytest

from app.weave import messages
from stores.digests import object_digest, table_digest
from tests.app.weave.asking import posted, refused


def made(weave_api: httpx.Client, project: str, rows: list[Any]) -> dict[str, Any]:
    table: dict[str, Any] = posted(weave_api, "/table/create", table={"project_id": project, "rows": rows})
    return table


def found(weave_api: httpx.Client, project: str, digest: str, **options: object) -> list[tuple[int, Any]]:
    rows = posted(weave_api, "/table/query", project_id=project, digest=digest, **options)["rows"]
    return [(row["original_index"], row["val"]["n"]) for row in rows]


def test_table_is_created_and_read(weave_api: httpx.Client, project: str) -> None:
    rows = [{"n": 1, "wide": 2**70}, {"n": 2}, {"n": 1, "wide": 2**70}]
    table = made(weave_api, project, rows)

    read = posted(weave_api, "/table/query", project_id=project, digest=table["digest"])["rows"]

    assert table["row_digests"] == [object_digest(row) for row in rows]
    assert table["digest"] == table_digest(table["row_digests"])
    assert read == [
        {"digest": digest, "val": row, "original_index": at}
        for at, (digest, row) in enumerate(zip(table["row_digests"], rows, strict=True))
    ]
    again = posted(weave_api, "/table/create_from_digests", project_id=project, row_digests=table["row_digests"])
    assert again == {"digest": table["digest"]}
    assert posted(weave_api, "/table/query_stats", project_id=project, digest=table["digest"]) == {"count": 3}
    stats = posted(weave_api, "/table/query_stats_batch", project_id=project, digests=[table["digest"], "nothing"])
    assert stats == {"tables": [{"digest": table["digest"], "count": 3, "storage_size_bytes": None}]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(0, 5), (1, 3), (2, 4), (3, 3), (4, 9)]),
        ({"limit": 2, "offset": 1}, [(1, 3), (2, 4)]),
        ({"limit": 0}, []),
        ({"offset": 5}, []),
        ({"sort_by": [{"field": "n", "direction": "asc"}], "limit": 4}, [(1, 3), (3, 3), (2, 4), (0, 5)]),
        ({"filter": {"row_digests": [object_digest({"n": 3})]}}, [(1, 3), (3, 3)]),
    ],
)
def test_rows_are_queried(
    weave_api: httpx.Client,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    expected: list[tuple[int, Any]],
) -> None:
    monkeypatch.setattr(messages, "FOUND_AT_ONCE", 3)
    monkeypatch.setattr(messages, "BYTES_AT_ONCE", 17)
    digest = made(weave_api, project, [{"n": n} for n in (5, 3, 4, 3, 9)])["digest"]

    assert found(weave_api, project, digest, **options) == expected


def test_large_table_is_created_in_chunks(weave_api: httpx.Client, project: str) -> None:
    rows = [{"n": n, "text": f'{n} [ü] {{}}, \\" ' * 60} for n in range(3000)]
    table = made(weave_api, project, rows)

    assert table["digest"] == table_digest([object_digest(row) for row in rows])
    assert [n for _, n in found(weave_api, project, table["digest"], offset=2990)] == list(range(2990, 3000))
    [stats] = posted(
        weave_api, "/table/query_stats_batch", project_id=project, digests=[table["digest"]], include_storage_size=True
    )["tables"]
    assert stats["storage_size_bytes"] == sum(len(json.dumps(row)) for row in rows)


def test_table_is_updated(weave_api: httpx.Client, project: str) -> None:
    base = made(weave_api, project, [{"n": 1}, {"n": 2}])["digest"]
    updates = [{"append": {"row": {"n": 3}}}, {"pop": {"index": 0}}, {"insert": {"index": 0, "row": {"n": 0}}}]

    changed = posted(weave_api, "/table/update", project_id=project, base_digest=base, updates=updates)

    assert changed["updated_row_digests"] == [object_digest({"n": n}) for n in (3, 1, 0)]
    assert found(weave_api, project, changed["digest"]) == [(0, 0), (1, 2), (2, 3)]
    for wrong in ({}, {"pop": {"index": 0}, "append": {"row": {}}}):
        status, reason = refused(weave_api, "/table/update", project_id=project, base_digest=base, updates=[wrong])
        assert (status, reason) == (400, "updates.0: must be just one of append, pop and insert")
    misspelt = [{"pop": {"index": 0}}, {"pop": {"index": "x"}}]
    status, reason = refused(weave_api, "/table/update", project_id=project, base_digest=base, updates=misspelt)
    assert status == 422
    assert reason.startswith("updates.1.pop.index: ")
    assert (
        refused(weave_api, "/table/update", project_id=project, base_digest="x", updates=[{"pop": {"index": 0}}])[0]
        == 404
    )


@pytest.mark.parametrize(
    ("table", "status", "reason"),
    [
        ({"rows": [{"n": 1}, 7]}, 400, "table.rows.1: must be a JSON object"),
        ({"rows": [{"n": "x" * 9_000_000}]}, 413, "table.rows.0: takes"),
        ({"rows": {}}, 422, "table.rows: is required: a list"),
        ({"rows": [], "project_id": 5}, 422, "table.project_id: Input should be a valid string"),
        ({"rows": [], "project_id": "nowhere"}, 400, "table.project_id: 'nowhere' is not a project id"),
    ],
)
def test_invalid_table_is_refused(
    weave_api: httpx.Client, project: str, table: dict[str, Any], status: int, reason: str
) -> None:
    refusal = refused(weave_api, "/table/create", table={"project_id": project, **table})

    assert refusal[0] == status
    assert reason in refusal[1]


def test_unknown_table_has_no_rows(weave_api: httpx.Client, project: str) -> None:
    assert weave_api.post("/table/query", json={"project_id": project, "digest": "x"}).content == b'{"rows":[]}'
    assert refused(weave_api, "/table/query_stats", project_id=project, digest="x")[0] == 404
    assert made(weave_api, project, [])["row_digests"] == []
