"""Tests of expand columns: the values that replace refs, and the values that queries and sorts see behind refs."""

import json
from functools import partial
from typing import Any

import pytest

from stores.calls import CallsStore, Expansion
from stores.calls.ref_expansion import MAX_COLUMNS
from stores.database import Database
from stores.errors import BadInputError
from stores.objects import ObjectsStore
from stores.objects.classes import OP
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.tables import TablesStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.objects.builders import version
from tests.stores.query.generator import Tree

PAYLOADS = {"inputs", "output", "attributes", "summary"}


async def made(objects: ObjectsStore, val: object, object_id: str = "model", project_id: str = PROJECT) -> str:
    """Store a new version and return its ref."""
    digest = await objects.create(version(val, object_id=object_id, project_id=project_id))
    return f"weave:///{project_id}/object/{object_id}:{digest}"


async def expanded(calls: CallsStore, *columns: str, field: str = "inputs") -> list[Any]:
    """Return the parsed values of a field of all calls, with columns expanded."""
    page = await calls.page(PROJECT, PageRequest(), {field}, expansion=Expansion(columns))
    return [json.loads(row["json"][field]) for row in page.rows]


async def found(calls: CallsStore, *columns: str, query: Tree = None, sort_by: list[SortBy] | None = None) -> list[int]:
    """Return the numbers of the calls that a query finds through columns, in order."""
    page = await calls.page(
        PROJECT,
        PageRequest(),
        {"id"},
        sort_by=sort_by,
        query=Query({"$expr": query}) if query else None,
        expansion=Expansion(columns, returns_values=False),
    )
    return [int(row["id"][-12:], 16) for row in page.rows]


def compared(operation: str, field: str, literal: object) -> Tree:
    return {f"${operation}": [{"$getField": field}, {"$literal": literal}]}


async def test_ref_is_replaced_by_its_target_value(objects: ObjectsStore, calls: CallsStore) -> None:
    model = await made(objects, {"name": "big", "wide": 1 << 70})
    listed = await made(objects, [1, 2], "listed")
    own = await made(objects, {"_ref": "mine"}, "own")
    op = await objects.create(version({"code": 1}, object_id="f", kind=OP))
    op_ref = f"weave:///{PROJECT}/op/f:{op}"
    inputs = {"model": model, "listed": listed, "own": own, "op": op_ref, "same": model, "rest": 1}
    await calls.write([start(inputs=inputs, attributes={"model": model}), end(output=model, summary={"m": model})])

    [values] = await expanded(calls, *(f"inputs.{name}" for name in inputs))

    assert list(values.items()) == [
        ("model", {"name": "big", "wide": 1 << 70, "_ref": model}),
        ("listed", [1, 2]),
        ("own", {"_ref": "mine"}),
        ("op", {"code": 1, "_ref": op_ref}),
        ("same", {"name": "big", "wide": 1 << 70, "_ref": model}),
        ("rest", 1),
    ]
    whole = {"name": "big", "wide": 1 << 70, "_ref": model}
    assert await expanded(calls, "output", field="output") == [whole]
    assert await expanded(calls, "summary.m", field="summary") == [{"m": whole}]
    assert await expanded(calls, "attributes.model", "inputs.model", field="attributes") == [{"model": whole}]
    assert await expanded(calls, "attributes.model") == [inputs]


async def test_nested_columns_expand_in_any_order(objects: ObjectsStore, calls: CallsStore) -> None:
    prompt = await made(objects, {"text": "Be kind."}, "prompt")
    model = await made(objects, {"prompt": prompt, "other": prompt})
    await calls.write([start(1, inputs={"a": model, "b": model}), start(2, inputs={"a": {"prompt": prompt}})])
    whole = {"text": "Be kind.", "_ref": prompt}

    assert await expanded(calls, "inputs.a.prompt", "inputs.a", "inputs.b", "inputs.a") == [
        {
            "a": {"prompt": whole, "other": prompt, "_ref": model},
            "b": {"prompt": prompt, "other": prompt, "_ref": model},
        },
        {"a": {"prompt": whole}},
    ]
    assert await expanded(calls, "inputs.a.prompt") == [{"a": model, "b": model}, {"a": {"prompt": whole}}]


async def test_unresolvable_ref_is_unchanged(objects: ObjectsStore, calls: CallsStore, tables: TablesStore) -> None:
    model = await made(objects, {"name": "big"})
    gone = await made(objects, {"name": "gone"}, "gone")
    await objects.delete(PROJECT, "gone", ["latest"])
    table, _ = await tables.create(PROJECT, [{"q": 1}])
    inputs = {
        "gone": gone,
        "missing": f"weave:///{PROJECT}/object/nobody:x",
        "stranger": await made(objects, {"name": "other"}, project_id="other/place"),
        "table": f"weave:///{PROJECT}/table/{table}",
        "call": f"weave:///{PROJECT}/call/{call_id(1)}",
        "index": f"{model}/index/0",
        "nothing": f"{model}/key/nothing",
        "text": "weave:///text",
        "number": 5,
        "null": None,
        "list": [model],
        "artifact": "wandb-artifact:///a/b/c",
    }
    await calls.write([start(inputs=inputs)])

    columns = [*(f"inputs.{name}" for name in inputs), "inputs.list.0", "inputs.absent", "inputs.number.deep"]
    assert await expanded(calls, *columns) == [inputs]
    assert await expanded(calls) == [inputs]


async def test_refs_with_path_steps_expand_to_the_value_there(
    objects: ObjectsStore, calls: CallsStore, tables: TablesStore
) -> None:
    table, [row] = await tables.create(PROJECT, [{"q": "one"}])
    data = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}", "n": [7]}, "data")
    example, number = f"{data}/attr/rows/id/{row}", f"{data}/key/n/index/0"
    await calls.write([start(inputs={"example": example, "number": number})])

    assert await expanded(calls, "inputs.example", "inputs.number") == [
        {"example": {"q": "one", "_ref": example}, "number": 7}
    ]


async def test_special_keys_can_be_expanded(objects: ObjectsStore, calls: CallsStore) -> None:
    model = await made(objects, {"a.b": {"$x": 3}, "0": {"": 4}})
    await calls.write([start(1, inputs={"x.y": {"$m": model}}), start(2, inputs={"0": model})])

    assert [set(values) for values in await expanded(calls, r"inputs.x\.y.$m")] == [{"x.y"}, {"0"}]
    assert (await expanded(calls, r"inputs.x\.y.$m"))[0]["x.y"]["$m"]["0"] == {"": 4}
    assert await found(calls, r"inputs.x\.y.$m", query=compared("eq", r"inputs.x\.y.$m.a\.b.$x", 3)) == [1]
    assert await found(calls, "inputs.0", query=compared("eq", r"inputs.0.a\.b.$x", 3)) == [2]


async def test_values_are_returned_only_if_requested(objects: ObjectsStore, calls: CallsStore) -> None:
    await calls.write([start(inputs={"model": await made(objects, {"n": 1})})])
    before = await expanded(calls)

    page = await calls.page(PROJECT, PageRequest(), {"inputs"}, expansion=Expansion(["inputs.model"], False))  # noqa: FBT003

    assert [json.loads(row["json"]["inputs"]) for row in page.rows] == before


@pytest.fixture
async def models(objects: ObjectsStore, calls: CallsStore) -> None:
    """Write calls of models: 1 to 3 have t 0.1, 0.5 and "hot", 4 has none, 5's is deleted, 6 has t 0.5 inline."""
    refs = [await made(objects, {"t": t, "tags": ["a", t]}, f"m{t}") for t in (0.1, 0.5, "hot")]
    refs += [await made(objects, {"other": 1}, "plain"), await made(objects, {"t": 0.5}, "gone")]
    await objects.delete(PROJECT, "gone", ["latest"])
    inputs: list[Any] = [*refs, {"t": 0.5}]
    await calls.write([start(n, inputs={"model": model, "n": n % 2}) for n, model in enumerate(inputs, 1)])


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (compared("eq", "inputs.model.t", 0.5), [2]),
        ({"$not": [compared("eq", "inputs.model.t", 0.5)]}, [1, 3, 4, 5, 6]),
        (compared("gt", "inputs.model.t", 0), [1, 2]),
        ({"$not": [compared("gt", "inputs.model.t", 0)]}, [3, 4, 5, 6]),
        (compared("eq", "inputs.model.t", None), [4, 5, 6]),
        ({"$in": [{"$getField": "inputs.model.t"}, [{"$literal": "hot"}, {"$literal": 0.1}]]}, [1, 3]),
        ({"$contains": {"input": {"$getField": "inputs.model.t"}, "substr": {"$literal": "ot"}}}, [3]),
        (compared("eq", "inputs.model.tags.1", "hot"), [3]),
        (compared("gte", "inputs.model.tags.0", ""), [1, 2, 3]),
        ({"$and": [compared("gt", "inputs.model.t", 0), compared("eq", "inputs.n", 1)]}, [1]),
        ({"$or": [compared("eq", "inputs.model.t", 0.5), compared("eq", "inputs.n", 1)]}, [1, 2, 3, 5]),
        ({"$eq": [{"$getField": "inputs.model.t"}, {"$getField": "inputs.model.tags.1"}]}, [1, 2, 3, 4, 5, 6]),
        (
            {"$eq": [{"$convert": {"input": {"$getField": "inputs.model.t"}, "to": "exists"}}, {"$literal": True}]},
            [1, 2, 3],
        ),
    ],
)
async def test_queries_read_values_behind_refs(calls: CallsStore, query: Tree, expected: list[int]) -> None:
    assert await found(calls, "inputs.model", query=query) == expected
    where = Query({"$expr": query})
    assert await calls.count(PROJECT, query=where, expansion=Expansion(["inputs.model"])) == len(expected)
    stats = await calls.stats(
        PROJECT, {"count", "total_storage_size_bytes"}, None, 2, where, Expansion(["inputs.model"])
    )
    assert stats.count == min(2, len(expected))
    assert stats.total_storage_size_bytes


@pytest.mark.usefixtures("models")
async def test_queries_do_not_follow_refs_without_expand_columns(calls: CallsStore) -> None:
    assert await found(calls, query=compared("eq", "inputs.model.t", 0.5)) == [6]
    starts = {"$contains": {"input": {"$getField": "inputs.model"}, "substr": {"$literal": "weave:///"}}}
    assert await found(calls, "inputs.model", query=starts) == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("models")
async def test_sorts_and_cursors_use_values_behind_refs(calls: CallsStore) -> None:
    expansion = Expansion(["inputs.model"], returns_values=False)
    for descending, expected in ((False, [1, 2, 3, 4, 5, 6]), (True, [2, 1, 3, 6, 5, 4])):
        sort_by = [SortBy("inputs.model.t", descending)]
        assert await found(calls, "inputs.model", sort_by=sort_by) == expected
        for backward in (False, True):
            ids: list[str] = []
            cursor, more = None, True
            while more:
                request = PageRequest(2, cursor, backward)
                page = await calls.page(PROJECT, request, {"id"}, sort_by=sort_by, expansion=expansion)
                here = [row["id"] for row in page.rows]
                ids = here + ids if backward else ids + here
                more = page.has_previous if backward else page.has_next
                cursor = page.cursor(page.rows[0 if backward else -1])
            assert ids == [call_id(n) for n in expected]


@pytest.mark.usefixtures("models")
async def test_cursor_is_valid_only_for_its_columns(calls: CallsStore) -> None:
    query = Query({"$expr": compared("gt", "inputs.model.t", 0)})
    page = await calls.page(PROJECT, PageRequest(1), {"id"}, query=query, expansion=Expansion(["inputs.model"]))
    request = PageRequest(1, page.cursor(page.rows[0]))

    after = await calls.page(PROJECT, request, {"id"}, query=query, expansion=Expansion(["inputs.model"]))

    assert [row["id"] for row in after.rows] == [call_id(2)]
    with pytest.raises(BadInputError, match="not a cursor of this query"):
        await calls.page(PROJECT, request, {"id"}, query=query)


async def test_column_chains_follow_ref_chains(objects: ObjectsStore, calls: CallsStore) -> None:
    prompts = [await made(objects, {"text": text}, "prompt") for text in ("b", "a")]
    models = [await made(objects, {"prompt": prompt, "n": 1}, "model") for prompt in prompts]
    await calls.write(
        [*(start(n, inputs={"model": model}) for n, model in enumerate(models)), start(2, inputs={"model": prompts[0]})]
    )
    chain = ["inputs.model.prompt", "inputs.model"]

    assert await found(calls, *chain, query=compared("eq", "inputs.model.prompt.text", "a")) == [1]
    assert await found(calls, *chain, sort_by=[SortBy("inputs.model.prompt.text")]) == [1, 0, 2]
    assert await found(calls, *chain, query=compared("eq", "inputs.model.prompt", prompts[0])) == [0]
    assert await found(calls, *chain, query=compared("eq", "inputs.model.n", 1)) == [0, 1]
    assert await found(calls, chain[0], query=compared("eq", "inputs.model.prompt.text", "a")) == []
    assert await found(calls, chain[1], query=compared("eq", "inputs.model.prompt.text", "a")) == []


async def test_queries_follow_only_plain_refs_into_the_project(objects: ObjectsStore, calls: CallsStore) -> None:
    model = await made(objects, {"t": 1})
    texts = [
        model,
        f"{model}/key/t",
        model.replace("object/model", "op/model"),
        model.replace("/model:", ":model/"),
        await made(objects, {"t": 1}, project_id="other/place"),
        f"weave:///{PROJECT}/object/model",
        f"weave:///{PROJECT}/object/model:latest",
        model + "x",
        f" {model}",
        "é" * 20,
    ]
    lists = [[model], {"model": model}, 5, None]
    await calls.write([start(n, inputs={"model": text}) for n, text in enumerate([*texts, *lists])])

    assert await found(calls, "inputs.model", query=compared("eq", "inputs.model.t", 1)) == [0]
    assert await found(calls, "inputs.model.0", query=compared("eq", "inputs.model.0.t", 1)) == []


@pytest.fixture
async def examples(objects: ObjectsStore, calls: CallsStore, tables: TablesStore) -> list[str]:
    """Write calls of rows in two datasets that share one row, with q 2, 1, 1 and 1. Return the datasets' refs."""
    table, [two, one] = await tables.create(PROJECT, [{"q": 2, "tags": ["b"]}, {"q": 1, "tags": ["a"]}])
    other, _ = await tables.create(PROJECT, [{"q": 1, "tags": ["a"]}, {"q": 3}])
    first = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}", "q": 9}, "first")
    second = await made(objects, {"rows": f"weave:///{PROJECT}/table/{other}"}, "second")
    op = await objects.create(version({"rows": f"weave:///{PROJECT}/table/{table}"}, object_id="f", kind=OP))
    refs = [(first, two), (first, one), (second, one), (f"weave:///{PROJECT}/op/f:{op}", one)]
    await calls.write([start(n, inputs={"row": f"{data}/attr/rows/id/{row}"}) for n, (data, row) in enumerate(refs)])
    return [first, second]


async def test_queries_and_sorts_reach_into_table_rows(calls: CallsStore, examples: list[str]) -> None:
    assert examples
    search = partial(found, calls, "inputs.row")

    assert await search(query=compared("eq", "inputs.row.q", 1)) == [1, 2, 3]
    assert await search(query=compared("eq", "inputs.row.q", 9)) == []
    assert await search(query=compared("eq", "inputs.row.tags.0", "b")) == [0]
    assert await search(sort_by=[SortBy("inputs.row.q")]) == [1, 2, 3, 0]
    assert await search(sort_by=[SortBy("inputs.row.q", descending=True)]) == [0, 3, 2, 1]


async def test_project_id_that_looks_like_an_expression_is_a_literal(
    objects: ObjectsStore, calls: CallsStore, tables: TablesStore
) -> None:
    project = "$acme/$$chat"
    table, [row] = await tables.create(project, [{"q": 1}])
    dataset = await made(objects, {"rows": f"weave:///{project}/table/{table}"}, "data", project)
    await calls.write([start(1, project_id=project, inputs={"row": f"{dataset}/attr/rows/id/{row}"})])

    page = await calls.page(
        project,
        PageRequest(),
        {"id"},
        query=Query({"$expr": compared("eq", "inputs.row.q", 1)}),
        expansion=Expansion(("inputs.row",), returns_values=False),
    )

    assert [found["id"] for found in page.rows] == [call_id(1)]


async def test_rows_that_are_not_referenced_are_not_found(
    objects: ObjectsStore, calls: CallsStore, tables: TablesStore, database: Database, examples: list[str]
) -> None:
    first, second = examples
    row = next(values["row"] for values in await expanded(calls)).rpartition("/")[2]
    foreign, _ = await tables.create("other/place", [{"q": 2, "tags": ["b"]}])
    table, _ = await tables.create(PROJECT, [{"q": 2, "tags": ["b"]}])
    bare = f"{PROJECT}:{table}"
    lone, [lost] = await tables.create(PROJECT, [{"q": 2, "lost": True}])
    await database.table_rows.delete_many({"digest": lost})
    sources: list[object] = [
        *(
            {"rows": rows}
            for rows in (f"weave:///other/place/table/{foreign}", bare, f" weave:///{PROJECT}/table/{table}")
        ),
        *({"rows": rows} for rows in (f"weave:///{PROJECT}/table/{table}/id/{row}", [{"q": 2}], {"q": 2}, None, "")),
        *({"rows": [f"weave:///{PROJECT}/table/{table}"]}, [{"rows": f"weave:///{PROJECT}/table/{table}"}], "text"),
    ]
    made_of = [await made(objects, val, f"s{n}") for n, val in enumerate(sources)]
    strange = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "first", "other/place")
    whole = await made(objects, {"rows": f"weave:///{PROJECT}/table/{lone}"}, "whole")
    gone = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "gone")
    await objects.delete(PROJECT, "gone", ["latest"])
    texts = [
        *(f"{ref}/attr/rows/id/{row}" for ref in (second, *made_of, strange, gone, f"weave:///{PROJECT}/object/no:x")),
        *(f"{first}/attr/rows/id/{end}" for end in ("", "x" * 43, row[:-1], f"{row}/", f"{row}/key/q", f"%{row}")),
        *(f"{first}{edges}" for edges in ("/attr/rows", f"/attr/rows/id/{row}/attr/rows/id/{row}", f"/id/{row}")),
        f"{whole}/attr/rows/id/{lost}",
    ]
    await calls.write([start(n, inputs={"row": text}) for n, text in enumerate(texts, 10)])

    assert await found(calls, "inputs.row", query=compared("eq", "inputs.row.q", 2)) == [0]
    values = [values["row"] for values in await expanded(calls, "inputs.row")]
    assert [value["q"] for value in values if isinstance(value, dict) and "q" in value] == [2, 1, 1, 1]


async def test_column_chains_reach_through_rows(objects: ObjectsStore, calls: CallsStore, tables: TablesStore) -> None:
    prompt = await made(objects, {"text": "Be kind."}, "prompt")
    table, [row] = await tables.create(PROJECT, [{"prompt": prompt}])
    data = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "data")
    holder = await made(objects, {"example": f"{data}/attr/rows/id/{row}"}, "holder")
    await calls.write([start(1, inputs={"a": holder}), start(2, inputs={"a": data})])
    chain = ["inputs.a", "inputs.a.example", "inputs.a.example.prompt"]

    assert await found(calls, *chain, query=compared("eq", "inputs.a.example.prompt.text", "Be kind.")) == [1]
    assert await found(calls, *chain[:2], query=compared("eq", "inputs.a.example.prompt", prompt)) == [1]
    assert await found(calls, *chain, sort_by=[SortBy("inputs.a.example.prompt.text", descending=True)]) == [1, 2]


@pytest.mark.parametrize(
    ("columns", "argument", "reason"),
    [
        (["inputs.model", "input.model"], "expand_columns.1", "there is no field 'input.model'; did you mean model?"),
        (["op_name"], "expand_columns.0", "op_name holds no refs to expand"),
        (["input_refs"], "expand_columns.0", "input_refs holds no refs to expand"),
        (["summary.weave.status"], "expand_columns.0", "summary.weave.status holds no refs to expand"),
        (["inputs..a"], "expand_columns.0", "has an empty key"),
        (["inputs."], "expand_columns.0", "has an empty key"),
        ([""], "expand_columns.0", "there is no field ''"),
        ([f"inputs.{n}" for n in range(MAX_COLUMNS + 1)], "expand_columns", "has 21 columns; the limit is 20"),
    ],
)
async def test_invalid_column_is_refused(calls: CallsStore, columns: list[str], argument: str, reason: str) -> None:
    for ask in (
        partial(calls.page, PROJECT, PageRequest(), {"id"}),
        partial(calls.count, PROJECT),
        partial(calls.explain, PROJECT),
    ):
        with pytest.raises(BadInputError) as raised:
            await ask(expansion=Expansion(columns))
        assert (raised.value.argument, reason in raised.value.message) == (argument, True), raised.value.message


async def test_query_has_at_most_ten_fields_behind_refs(calls: CallsStore) -> None:
    conditions = [compared("eq", f"inputs.model.a{n}", n) for n in range(11)]
    unexpanded = [compared("eq", f"inputs.other.a{n}", n) for n in range(11)]

    assert await found(calls, "inputs.model", query={"$and": [*conditions[:10], *unexpanded]}) == []
    with pytest.raises(BadInputError, match="has 11 fields behind refs; the limit is 10") as raised:
        await found(calls, "inputs.model", query={"$or": [*conditions, *unexpanded]})
    assert raised.value.argument == "query"


async def test_command_count_does_not_depend_on_the_refs_of_a_page(
    objects: ObjectsStore, calls: CallsStore, commands: Commands
) -> None:
    prompts = [await made(objects, {"n": n}, f"p{n}") for n in range(5)]
    models = [await made(objects, {"prompt": prompts[n % 5]}, f"m{n}") for n in range(10)]
    await calls.write([start(n, inputs={"model": models[n % 10]}) for n in range(100)])
    sent = []

    for size in (1, 100):
        commands.sent.clear()
        expansion = Expansion(["inputs.model", "inputs.model.prompt"])
        page = await calls.page(PROJECT, PageRequest(size), {"inputs"}, expansion=expansion)
        values = [json.loads(row["json"]["inputs"]) for row in page.rows]
        assert [value["model"]["prompt"]["n"] for value in values] == [n % 5 for n in range(size)]
        sent.append(commands.names)

    assert sent == [["find", "find", "find"]] * 2
    assert len(commands.sent[1][1]["filter"]["_id"]["$in"]) == 10
    commands.sent.clear()
    await calls.page(PROJECT, PageRequest(), {"id"}, expansion=expansion)
    assert commands.names == ["find"]


async def test_too_expensive_expansion_is_refused(
    objects: ObjectsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await made(objects, {"text": "x" * 400})
    await calls.write([start(n, inputs={"model": model}) for n in range(3)])
    monkeypatch.setattr("stores.calls.ref_expansion.MAX_CHARACTERS", 1_000)

    with pytest.raises(BadInputError, match="request fewer calls") as raised:
        await expanded(calls, "inputs.model")
    assert raised.value.argument == "expand_columns"
    page = await calls.page(PROJECT, PageRequest(2), {"inputs"}, expansion=Expansion(["inputs.model"]))
    assert ["xxx" in row["json"]["inputs"] for row in page.rows] == [True, True]


@pytest.mark.usefixtures("models")
async def test_explain_shows_the_lookups_and_no_sort(calls: CallsStore) -> None:
    expansion, where = Expansion(["inputs.model"]), Query({"$expr": compared("gt", "inputs.model.t", 0)})

    filtered = await calls.explain(PROJECT, None, None, where, expansion)
    ordered = await calls.explain(PROJECT, None, [SortBy("inputs.model.t")], None, expansion)
    plain = await calls.explain(PROJECT, None, None, None, expansion)

    assert [next(iter(stage)) for stage in filtered.pipeline] == [
        *("$match", "$sort", "$set", "$lookup", "$set", "$lookup", "$set", "$match", "$limit", "$project"),
    ]
    assert (filtered.sorts_in_memory, ordered.sorts_in_memory, plain.sorts_in_memory) == (False, True, False)
    assert not any("$lookup" in stage for stage in plain.pipeline)
    lookup, _ = [stage["$lookup"] for stage in filtered.pipeline if "$lookup" in stage]
    assert lookup["pipeline"][-1]["$project"].items() >= {"_id": 0, "val.t": 1}.items()


async def test_large_objects_do_not_exceed_the_document_limit(objects: ObjectsStore, calls: CallsStore) -> None:
    names = "abcdef"
    models = {name: await made(objects, {"text": "x" * 3_000_000, "name": name}, name) for name in names}
    await calls.write([start(1, inputs=models | {"own": "y" * 3_000_000})])
    columns = [f"inputs.{name}" for name in names]
    few = {"$and": [compared("eq", f"inputs.{name}.name", name) for name in names]}
    texts = {"$and": [compared("gte", f"inputs.{name}.text", "x") for name in names]}

    assert await found(calls, *columns, query=few) == [1]
    assert await found(calls, *columns, query=few, sort_by=[SortBy("inputs.a.name"), SortBy("inputs.b.name")]) == [1]
    assert await found(calls, *columns, query=texts) == [1]
    assert await found(calls, *columns, query=texts, sort_by=[SortBy("inputs.a.text")]) == [1]


async def test_calls_read_by_id_are_expanded(calls: CallsStore, objects: ObjectsStore) -> None:
    ref = await made(objects, {"t": 1})
    await calls.write([start(1, inputs={"model": ref}), start(2, inputs={"model": "plain"})])
    keys = [(PROJECT, call_id(number)) for number in (2, 1, 3)]

    rows = await calls.by_keys(keys, frozenset({"inputs"}), Expansion(["inputs.model"]))

    texts = [row and row["json"]["inputs"] for row in rows.values()]
    assert list(rows) == keys
    assert texts == ['{"model":"plain"}', f'{{"model":{{"t":1,"_ref":"{ref}"}}}}', None]


async def test_condition_compares_lists_and_objects_behind_refs_as_text(
    objects: ObjectsStore, calls: CallsStore, tables: TablesStore
) -> None:
    value = {"tools": [{"name": "é", "cost": 1e22}], "wide": 1 << 70}
    model = await made(objects, value)
    table, digests = await tables.create(PROJECT, [value])
    dataset = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "dataset")
    row = f"{dataset}/attr/rows/id/{digests[0]}"
    await calls.write([start(n, inputs={"at": each}) for n, each in enumerate((model, row, value, None))])
    text = '[{"name":"é","cost":1e+22}]'
    tools = {"$getField": "inputs.at.tools"}
    contains: Tree = {"$contains": {"input": tools, "substr": {"$literal": "+22}"}}}
    equal: Tree = {"$eq": [{"$convert": {"input": tools, "to": "string"}}, {"$literal": text}]}

    for query in (contains, equal):
        assert await found(calls, "inputs.at", query=query) == [0, 1]
        assert await found(calls, "inputs.at", query={"$not": [query]}) == [2, 3]
        assert await found(calls, query=query) == [2]
