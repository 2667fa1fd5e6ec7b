"""Tests of object versions: the result of each write, and the version that each form of name finds."""

from dataclasses import fields
from typing import Any, Final

import pytest

from stores import digests
from stores.database import Database
from stores.database.driver import concern_of_one_read
from stores.database.indexes import INDEXES
from stores.errors import BadInputError, NotFoundError, ObjectDeletedError, PayloadTooLargeError, StoreError
from stores.json import codec
from stores.objects import ObjectsFilter, ObjectsStore
from stores.objects.classes import OBJECT
from stores.objects.store import doomed_rows
from stores.paging import PageRequest
from stores.query import Query
from stores.query.index_use import UNINDEXED_FILTERS
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT
from tests.stores.objects.builders import version

OP = {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}
PLACE = {"version_index", "is_latest"}


async def places(objects: ObjectsStore, object_id: str = "prompt") -> list[tuple[str, int, int]]:
    """Return the digest, index and latest flag of each version that is not deleted, by index."""
    which = ObjectsFilter(object_ids=[object_id])
    page = await objects.page(PROJECT, PageRequest(), PLACE, which, [SortBy("version_index")])
    return [(row["digest"], row["version_index"], row["is_latest"]) for row in page.rows]


async def test_recreated_version_keeps_its_index_and_becomes_the_latest(objects: ObjectsStore) -> None:
    a, b = [await objects.create(version(name)) for name in "ab"]

    again = await objects.create(version("a", wb_user_id="someone else"))

    assert again == a
    assert await places(objects) == [(a, 0, 1), (b, 1, 0)]
    assert (await objects.one(PROJECT, "prompt", "latest", {"wb_user_id"}))["wb_user_id"] == "local"


def test_names_with_many_versions_are_listed_in_one_scan() -> None:
    class Read(dict[str, object]):
        """A row that counts its reads."""

        times = 0

        def __getitem__(self, name: str) -> object:
            Read.times += 1
            return super().__getitem__(name)

    rows = [
        Read(kind=kind, digest=f"digest {number}", version_index=number, is_latest=int(number == 499), visible=True)
        for kind in (OBJECT, "op")
        for number in range(500)
    ]
    versions = ["latest", "v007", *(f"digest {number}" for number in range(400, 498))]

    found = doomed_rows(rows, versions, "prompt")

    assert Read.times < 4 * len(rows)
    assert [row["version_index"] for row in found.values()] == [499, 7, *range(400, 498)]
    assert {row["kind"] for row in found.values()} == {OBJECT}


async def test_deleted_versions_count_and_the_newest_remaining_is_latest(objects: ObjectsStore) -> None:
    a, b, c = [await objects.create(version(name)) for name in "abc"]

    assert await objects.delete(PROJECT, "prompt", ["latest", "v1"]) == 2
    d = await objects.create(version("d"))

    assert await places(objects) == [(a, 0, 0), (d, 3, 1)]
    assert await objects.delete(PROJECT, "prompt", [d, "v3", "latest"]) == 1
    assert await places(objects) == [(a, 0, 1)]
    for name, index in ((b, 1), ("v2", 2), (c, 2), (d, 3)):
        with pytest.raises(ObjectDeletedError, match=f"^prompt:v{index} was deleted at 20.*Z$"):
            await objects.one(PROJECT, "prompt", name, set())


async def test_version_deleted_by_digest_returns_when_recreated(objects: ObjectsStore) -> None:
    a, b = [await objects.create(version({"ref": f"weave:///acme/chat/object/{name}:x"})) for name in "ab"]
    await objects.delete(PROJECT, "prompt", [a])

    assert await objects.create(version({"ref": "weave:///acme/chat/object/a:x"})) == a

    assert await places(objects) == [(a, 0, 1), (b, 1, 0)]
    row = await objects.one(PROJECT, "prompt", "latest", {"val", "refs", "deleted_at"})
    assert row["json"]["val"] == '{"ref":"weave:///acme/chat/object/a:x"}'
    assert row["refs"] == ["weave:///acme/chat/object/a:x"]
    assert "deleted_at" not in row


async def test_deleting_a_name_releases_its_values(objects: ObjectsStore, database: Database) -> None:
    val = {"r": "weave:///acme/chat/object/x:y"}
    a, b, c = [await objects.create(version({"v": name} | val)) for name in "abc"]
    other = await objects.create(version(val, object_id="other"))
    assert await objects.delete(PROJECT, "prompt", [c]) == 1

    assert await objects.delete(PROJECT, "prompt", []) == 2

    assert (await objects.one(PROJECT, "other", other, {"val"}))["json"]["val"] == codec.encode(val)
    kept = await database.objects.find(
        {"object_id": "prompt"}, {"val": 1, "json": 1, "refs": 1, "size_bytes": 1, "is_latest": 1}
    ).to_list(9)
    assert [(row["val"], row["json"]["val"], row.get("refs"), row["size_bytes"]) for row in kept] == [
        ({}, "{}", None, 2)
    ] * 3
    with pytest.raises(ObjectDeletedError, match="prompt:v2 was deleted"):
        await objects.one(PROJECT, "prompt", "latest", set())
    assert await objects.create(version({"v": "a", "r": "weave:///acme/chat/object/x:y"})) == a
    row = await objects.one(PROJECT, "prompt", "v0", {"val", "size_bytes", "is_latest"})
    assert row["json"]["val"] == '{"v":"a","r":"weave:///acme/chat/object/x:y"}'
    assert (row["size_bytes"], row["is_latest"]) == (len('{"v": "a", "r": "weave:///acme/chat/object/x:y"}'), 1)
    assert await places(objects) == [(a, 0, 1)]
    assert b != a


async def test_values_of_separately_deleted_versions_go_with_the_name(
    objects: ObjectsStore, database: Database
) -> None:
    a, b = [await objects.create(version({"v": name})) for name in "ab"]
    await objects.delete(PROJECT, "prompt", [a, b])

    with pytest.raises(NotFoundError, match="prompt has no versions, or all are deleted") as refused:
        await objects.delete(PROJECT, "prompt")

    assert refused.value.argument == "object_id"
    assert await database.objects.distinct("json.val") == ["{}"]
    with pytest.raises(NotFoundError):
        await objects.delete(PROJECT, "nobody")
    assert await database.object_heads.count_documents({}) == 1
    assert await objects.create(version({"v": "a"})) == a
    assert (await objects.one(PROJECT, "prompt", "v0", {"val"}))["json"]["val"] == '{"v":"a"}'


async def test_object_and_op_with_one_name_have_separate_indexes(objects: ObjectsStore) -> None:
    plain = [await objects.create(version(number)) for number in range(2)]
    op = await objects.create(version(OP))
    forced = await objects.create(version("source", kind="op"))

    assert (await objects.one(PROJECT, "prompt", "latest", PLACE))["digest"] == plain[1]
    assert (await objects.one(PROJECT, "prompt", "latest", PLACE, "op"))["digest"] == forced
    assert (await objects.one(PROJECT, "prompt", op, PLACE, "op"))["version_index"] == 0
    with pytest.raises(NotFoundError, match=f"op prompt:{plain[0]} not found"):
        await objects.one(PROJECT, "prompt", plain[0], set(), "op")


async def test_version_of_either_kind_is_found_with_objects_first(objects: ObjectsStore) -> None:
    op, forced = await objects.create(version(OP)), await objects.create(version("source", kind="op"))
    plain = await objects.create(version(0))

    async def found(name: str) -> tuple[str, str]:
        row = await objects.one(PROJECT, "prompt", name, set())
        return row["kind"], row["digest"]

    assert [await found(digest) for digest in (op, forced, plain)] == [("op", op), ("op", forced), ("object", plain)]
    assert [await found(name) for name in ("latest", "v0", "v1")] == [
        ("object", plain),
        ("object", plain),
        ("op", forced),
    ]
    assert await objects.create(version("source")) == forced
    assert await found(forced) == ("object", forced)
    assert await objects.delete(PROJECT, "prompt", [forced]) == 1
    with pytest.raises(ObjectDeletedError, match=r"^prompt:v1 was deleted"):
        await found(forced)
    assert (await objects.one(PROJECT, "prompt", forced, PLACE, "op"))["version_index"] == 1


@pytest.mark.parametrize("by", ["digest", "v0", "latest"])
async def test_repeated_delete_of_a_version_keeps_the_op_of_its_name(objects: ObjectsStore, by: str) -> None:
    op, plain = await objects.create(version(OP)), await objects.create(version(0))
    chosen = [plain if by == "digest" else by]

    assert await objects.delete(PROJECT, "prompt", chosen) == 1
    with pytest.raises(NotFoundError):
        await objects.delete(PROJECT, "prompt", chosen)

    assert (await objects.one(PROJECT, "prompt", op, PLACE))["is_latest"] == 1
    with pytest.raises(ObjectDeletedError, match=r"^prompt:v0 was deleted"):
        await objects.one(PROJECT, "prompt", "latest", PLACE)


async def test_delete_covers_both_kinds_or_nothing(objects: ObjectsStore) -> None:
    op, plain = await objects.create(version(OP)), await objects.create(version(0))
    newer = [await objects.create(version(OP | {"n": 1})), await objects.create(version(1))]

    with pytest.raises(NotFoundError, match="prompt has no unknown; nothing was deleted"):
        await objects.delete(PROJECT, "prompt", [plain, op, "unknown"])
    assert await objects.count(PROJECT) == 4

    assert await objects.delete(PROJECT, "prompt", [plain, op, "v0"]) == 2
    assert sorted(await places(objects)) == sorted((digest, 1, 1) for digest in newer)


async def test_delete_of_all_versions_covers_object_and_op(objects: ObjectsStore, database: Database) -> None:
    for val in (OP, 0, 1):
        await objects.create(version(val))

    assert await objects.delete(PROJECT, "prompt") == 3

    assert await objects.count(PROJECT) == 0
    assert await database.objects.distinct("json.val") == ["{}"]
    for kind in (None, OBJECT, "op"):
        with pytest.raises(NotFoundError):
            await objects.delete(PROJECT, "prompt", kind=kind)


@pytest.mark.parametrize("by", ["digest", "latest", "all"])
async def test_delete_of_an_op_keeps_the_object(objects: ObjectsStore, by: str) -> None:
    op, plain = await objects.create(version(OP)), await objects.create(version(0))
    chosen = {"digest": [op], "latest": ["latest"], "all": []}[by]

    assert await objects.delete(PROJECT, "prompt", chosen, "op") == 1

    assert await places(objects) == [(plain, 0, 1)]
    with pytest.raises(ObjectDeletedError, match=r"^prompt:v0 was deleted"):
        await objects.one(PROJECT, "prompt", op, set())
    with pytest.raises(NotFoundError) as refused:
        await objects.delete(PROJECT, "other", [], "op", "name")
    assert refused.value.argument == "name"


async def test_name_without_an_object_belongs_to_the_op(objects: ObjectsStore) -> None:
    op = await objects.create(version(OP))
    with pytest.raises(NotFoundError):
        await objects.delete(PROJECT, "other")

    assert (await objects.one(PROJECT, "prompt", "v0", PLACE))["digest"] == op
    assert await objects.delete(PROJECT, "prompt", [op]) == 1
    with pytest.raises(ObjectDeletedError, match=r"^Op prompt:v0 was deleted at"):
        await objects.one(PROJECT, "prompt", "v0", set(), "op")


async def test_delete_that_names_a_missing_version_deletes_nothing(objects: ObjectsStore) -> None:
    a = await objects.create(version("a"))

    with pytest.raises(NotFoundError, match="prompt has no v7, unknown; nothing was deleted") as refused:
        await objects.delete(PROJECT, "prompt", [a, "v7", "unknown"])

    assert refused.value.argument == "digests"
    assert await places(objects) == [(a, 0, 1)]
    await objects.delete(PROJECT, "prompt", [a])
    for object_id, chosen in (("prompt", [a]), ("prompt", None), ("other", None)):
        with pytest.raises(NotFoundError):
            await objects.delete(PROJECT, object_id, chosen)


@pytest.mark.parametrize(
    "name", ["v-1", "v1", "v99999999999", "v" + "9" * 40, "vabc", "unknown", "", "a/b:c", "Latest"]
)
async def test_missing_version_is_not_found(objects: ObjectsStore, name: str) -> None:
    await objects.create(version())

    with pytest.raises(NotFoundError, match=r"^object prompt:"):
        await objects.one(PROJECT, "prompt", name, set())


async def test_version_belongs_to_its_project(objects: ObjectsStore) -> None:
    digest = await objects.create(version(project_id="acme/other"))

    with pytest.raises(NotFoundError):
        await objects.one(PROJECT, "prompt", digest, set())
    assert await objects.count(PROJECT) == 0
    with pytest.raises(NotFoundError):
        await objects.delete(PROJECT, "prompt", [digest])


@pytest.mark.parametrize("object_id", ["", "a/b", "a:b", "a b", "x" * 129, "../x", "a\n"])
async def test_invalid_name_is_refused(objects: ObjectsStore, object_id: str) -> None:
    with pytest.raises(BadInputError, match="is not a valid object name") as refused:
        await objects.create(version(object_id=object_id))

    assert refused.value.argument == "object_id"
    assert await objects.count(PROJECT) == 0


@pytest.mark.parametrize("object_id", ["x" * 128, "größe_1.2-3", "名前", "v0", "latest"])
async def test_valid_name_is_accepted(objects: ObjectsStore, object_id: str) -> None:
    digest = await objects.create(version(object_id=object_id))

    assert (await objects.one(PROJECT, object_id, "latest", set()))["digest"] == digest


@pytest.mark.parametrize(
    ("val", "error", "message"),
    [
        ("x" * 20_000_000, PayloadTooLargeError, "as stored .* the limit is 15,700,000"),
        ({"n": 10**308}, BadInputError, "more than 308 digits at n"),
        (["weave-trace-internal:///x"], BadInputError, "is reserved for internal refs; write refs with weave:///"),
    ],
)
async def test_unstorable_value_is_refused(
    objects: ObjectsStore, val: object, error: type[StoreError], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        await objects.create(version(val))

    assert refused.value.argument == "val"
    assert await objects.count(PROJECT) == 0


async def test_more_than_a_hundred_digests_are_refused(objects: ObjectsStore) -> None:
    with pytest.raises(BadInputError, match="has 101 digests; the limit is 100"):
        await objects.delete(PROJECT, "prompt", ["latest"] * 101)


@pytest.mark.parametrize(
    "val",
    [None, 0, 1.5, -0.0, "", True, [], {}, 2**64, {"a.b": {"$c": [None, "\0"]}, "ключ": "é"}, "x" * 7_000_000],
    ids=lambda val: str(val)[:20],
)
async def test_any_value_is_read_back_unchanged(objects: ObjectsStore, val: object) -> None:
    digest = await objects.create(version(val))

    row = await objects.one(PROJECT, "prompt", digest, {"val"})
    assert digest == digests.object_digest(val)
    assert repr(codec.loads(row["json"]["val"].encode())) == repr(val)


MODEL = {"_class_name": "GPT", "_bases": ["Model", "Object", "BaseModel"]}
PROMPT = {"_class_name": "Prompt", "_bases": ["BaseObject", "BaseModel"]}


FILTER_CASES: Final[dict[str, tuple[Any, str]]] = {
    "base_object_classes": (["Model", "Other"], "model"),
    "exclude_base_object_classes": (["Model"], "prompt"),
    "leaf_object_classes": (["GPT", "Prompt"], "model prompt"),
    "object_ids": (["plain", "run"], "plain plain run"),
    "is_op": (True, "run"),
    "latest_only": (True, "model plain prompt run"),
}
"""A value of each field of the filter, and the names of the versions that it matches."""

FILTER_FIELDS: Final = [field.name for field in fields(ObjectsFilter) if field.name != "ids_argument"]


@pytest.mark.parametrize("name", FILTER_FIELDS)
def test_each_field_of_the_filter_has_a_case(name: str) -> None:
    assert name in FILTER_CASES, f"add a value of {name} to FILTER_CASES in tests/stores/objects/test_versions.py"


def test_fields_without_an_index_count_as_scans() -> None:
    """Check that the cost limit knows each field whose column leads no index of objects, or that excludes values."""
    columns = {
        next(path for path, _ in index.keys if path not in {"project_id", "visible"})
        for index in INDEXES
        if index.collection == "objects" and len(index.keys) > 2
    }
    clauses = {name: ObjectsFilter(**{name: value}).clauses("filter") for name, (value, _names) in FILTER_CASES.items()}
    unindexed = {
        name for name, each in clauses.items() if not each or "$nin" in repr(each) or not columns & each[0].keys()
    }

    assert unindexed == {name for name in UNINDEXED_FILTERS if name in FILTER_FIELDS}, (
        "name these filters in UNINDEXED_FILTERS of stores/query/index_use.py, or add an index to "
        "stores/database/indexes.py"
    )


@pytest.mark.parametrize(
    ("objects_filter", "names"),
    [
        *[(ObjectsFilter(**{name: value}), names) for name, (value, names) in FILTER_CASES.items()],
        (ObjectsFilter(), "model plain plain prompt run"),
        (ObjectsFilter(is_op=False), "model plain plain prompt"),
        (ObjectsFilter(object_ids=[], base_object_classes=[]), "model plain plain prompt run"),
        (ObjectsFilter(object_ids=["plain"], is_op=True), ""),
    ],
)
async def test_filter_returns_the_matching_versions(
    objects: ObjectsStore, objects_filter: ObjectsFilter, names: str
) -> None:
    values = [("model", MODEL), ("plain", 1), ("plain", 2), ("prompt", PROMPT), ("run", OP), ("gone", 1)]
    for name, val in values:
        await objects.create(version(val, object_id=name))
    await objects.delete(PROJECT, "gone")

    page = await objects.page(PROJECT, PageRequest(), set(), objects_filter, [SortBy("object_id")])

    assert " ".join(row["object_id"] for row in page.rows) == names, "see the clauses in stores/objects/store.py"
    assert await objects.count(PROJECT, objects_filter) == len(page.rows)


async def test_too_long_filter_list_is_refused(objects: ObjectsStore) -> None:
    with pytest.raises(BadInputError, match="1,001 members; the limit is 1,000") as refused:
        await objects.count(PROJECT, ObjectsFilter(object_ids=["x"] * 1001))

    assert refused.value.argument == "filter.object_ids"


async def test_values_are_queried_and_sorted_by_path(objects: ObjectsStore) -> None:
    for number, temperature in enumerate([0.5, "hot", 2, None, 1]):
        await objects.create(version({"params": {"temperature": temperature}, "n": number}))
    warm = Query({"$expr": {"$gt": [{"$getField": "val.params.temperature"}, {"$literal": 0.5}]}})
    hottest_first = [SortBy("val.params.temperature", descending=True)]

    every = await objects.page(PROJECT, PageRequest(), {"version_index"}, None, hottest_first)
    some = await objects.page(PROJECT, PageRequest(), {"version_index"}, None, hottest_first, warm)

    assert [row["version_index"] for row in every.rows] == [2, 4, 0, 1, 3]
    assert [row["version_index"] for row in some.rows] == [2, 4]


async def test_value_too_complex_for_mongodb_is_matched_in_python(objects: ObjectsStore) -> None:
    for v in ("x", "y", "z"):
        await objects.create(version({"v": [v]}))
    query = Query({"$expr": {"$contains": {"input": {"$getField": "val.v"}, "substr": {"$literal": "x"}}}})
    first = await objects.page(PROJECT, PageRequest(size=1), PLACE, None, None, query)
    for v in ("x", "y"):
        await objects.create(version({"a": [[]] * 40_000, "v": [v], "x": 1}))

    rest = await objects.page(PROJECT, PageRequest(cursor=first.end_cursor), PLACE, None, None, query)

    assert [row["version_index"] for row in first.rows + rest.rows] == [0, 3]
    assert await objects.count(PROJECT, query=query) == 2


async def test_versions_are_paged_in_both_directions(objects: ObjectsStore) -> None:
    created = [await objects.create(version(number)) for number in range(7)]
    newest_first = [SortBy("created_at", descending=True)]

    found: list[str] = []
    cursor = None
    while True:
        page = await objects.page(PROJECT, PageRequest(size=3, cursor=cursor), {"created_at"}, None, newest_first)
        found += [row["digest"] for row in page.rows]
        if not page.has_next:
            break
        cursor = page.cursor(page.rows[-1])
    back = PageRequest(size=2, cursor=cursor, backward=True)
    before = await objects.page(PROJECT, back, {"created_at"}, None, newest_first)

    assert found == created[::-1]
    assert [row["digest"] for row in before.rows] == found[3:5]


async def test_many_refs_are_read_in_batches(
    objects: ObjectsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.database.content_store.BATCH", 2)
    made = [await objects.create(version(number)) for number in range(5)]
    keys = [(PROJECT, f"weave:///{PROJECT}/object/prompt:{digest}") for digest in [*made, "unknown"]]
    commands.sent.clear()

    found = await objects.by_refs(keys, frozenset({"version_index"}))

    assert [row and row["version_index"] for row in map(found.get, keys)] == [0, 1, 2, 3, 4, None]
    assert [len(body["filter"]["_id"]["$in"]) for _, body in commands.sent] == [2, 2, 2]


async def test_pages_of_many_names_are_one_snapshot(objects: ObjectsStore, commands: Commands) -> None:
    names = [(PROJECT, OBJECT, "prompt"), (PROJECT, OBJECT, "other")]
    for number in range(3):
        await objects.create(version(number))
    commands.sent.clear()

    pages = await objects.versions.pages(names, frozenset({"version_index"}), PageRequest(2))
    counts = await objects.versions.count(names)

    level = concern_of_one_read(objects.database.calls.database.client.delegate).level
    assert [[row["version_index"] for row in pages[name].rows] for name in names] == [[0, 1], []]
    assert counts == dict(zip(names, [3, 0], strict=True))
    assert [body["readConcern"]["level"] for _, body in commands.sent] == [level] * 2
