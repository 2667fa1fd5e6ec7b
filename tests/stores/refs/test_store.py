"""Tests of resolved refs: each kind of edge, refs inside values, and refs without a target."""

import json
from typing import Any

import pytest

from stores.database import Database
from stores.errors import BadInputError, NotFoundError
from stores.json import codec
from stores.objects import ObjectsStore
from stores.objects.classes import OP
from stores.refs.store import MAX_HOPS, RefsStore
from stores.tables import TablesStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.objects.builders import version

VALUE = {
    "a b/c": {"deep": [10, 20, {"x": None, "y": False}]},
    "list": [1, "two", None],
    "text": "weave:///not a ref",
    "wide": 10**30,
    "0": "a key of digits",
}


async def made(objects: ObjectsStore, val: object, object_id: str = "prompt", project_id: str = PROJECT) -> str:
    """Store a new version and return its ref."""
    digest = await objects.create(version(val, object_id=object_id, project_id=project_id))
    return f"weave:///{project_id}/object/{object_id}:{digest}"


async def values(refs: RefsStore, *texts: str) -> list[Any]:
    """Return the parsed values of some refs."""
    return [None if text is None else json.loads(text) for text in await refs.values(texts)]


async def refusal(refs: RefsStore, *texts: str) -> BadInputError:
    """Return the error that the store raises for refs."""
    with pytest.raises(BadInputError) as raised:
        await refs.values(texts)
    return raised.value


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ("", VALUE),
        ("/key/list", [1, "two", None]),
        ("/attr/list", [1, "two", None]),
        ("/key/a%20b%2Fc/attr/deep", [10, 20, {"x": None, "y": False}]),
        ("/key/list/index/0", 1),
        ("/key/list/index/-1", None),
        ("/key/list/index/-2", "two"),
        ("/key/list/index/3", None),
        ("/key/list/index/-4", None),
        ("/key/list/index/" + "9" * 5000, None),
        ("/key/a%20b%2Fc/key/deep/index/2/key/y", False),
        ("/key/a%20b%2Fc/key/deep/index/2/key/x", None),
        ("/key/a%20b%2Fc/key/deep/index/2/key/x/key/on/index/1", None),
        ("/key/nothing", None),
        ("/key/nothing/index/0/key/x", None),
        ("/key/list/key/x", None),
        ("/key/wide", 10**30),
        ("/key/wide/key/x", None),
        ("/key/text", "weave:///not a ref"),
        ("/key/text/key/x", None),
        ("/key/0", "a key of digits"),
    ],
)
async def test_ref_steps_lead_into_a_value(
    objects: ObjectsStore, refs: RefsStore, edges: str, expected: object
) -> None:
    ref = await made(objects, VALUE)

    assert await values(refs, ref + edges) == [expected]


async def test_values_are_in_the_order_of_their_refs_with_repeats(objects: ObjectsStore, refs: RefsStore) -> None:
    one, two = await made(objects, {"n": 1}), await made(objects, {"n": 2}, "other")

    assert await values(refs, two, one, two, f"{one}/key/n", one) == [{"n": 2}, {"n": 1}, {"n": 2}, 1, {"n": 1}]
    assert await values(refs) == []


async def test_complete_value_is_the_stored_text(objects: ObjectsStore, refs: RefsStore) -> None:
    ref = await made(objects, {"b": 1, "a": 1.0, "z": "é", "wide": 1 << 70})

    assert await refs.values([ref]) == ['{"b":1,"a":1.0,"z":"é","wide":1180591620717411303424}']


async def test_op_is_resolved_like_an_object(objects: ObjectsStore, refs: RefsStore) -> None:
    digest = await objects.create(version({"code": "f()"}, object_id="f", kind=OP))

    assert await values(refs, f"weave:///{PROJECT}/op/f:{digest}/attr/code") == ["f()"]
    with pytest.raises(NotFoundError, match=f"not found: weave:///{PROJECT}/object/f:{digest}"):
        await refs.values([f"weave:///{PROJECT}/object/f:{digest}"])


async def test_intermediate_ref_is_followed_with_the_remaining_steps(objects: ObjectsStore, refs: RefsStore) -> None:
    inner = await made(objects, {"a": {"b": ["deepest"]}, "plain": 1}, "inner")
    middle = await made(objects, {"to": f"{inner}/key/a", "whole": inner}, "middle")
    outer = await made(objects, {"middle": middle}, "outer")

    assert await values(
        refs,
        f"{outer}/key/middle/key/to/key/b/index/0",
        f"{outer}/key/middle/key/to",
        f"{outer}/key/middle/key/whole/key/plain",
        f"{outer}/key/middle/key/whole/key/nothing",
    ) == ["deepest", f"{inner}/key/a", 1, None]


async def test_table_rows_are_resolved_by_digest(objects: ObjectsStore, tables: TablesStore, refs: RefsStore) -> None:
    table, rows = await tables.create(PROJECT, [{"q": "one", "n": [1]}, {"q": "two", "n": [2]}])
    other, [stranger] = await tables.create(PROJECT, [{"q": "three"}])
    data = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "data")

    assert await values(
        refs,
        f"{data}/attr/rows/id/{rows[1]}",
        f"{data}/attr/rows/id/{rows[0]}/key/n/index/0",
        f"{data}/attr/rows/id/{rows[0]}/key/x",
        f"{data}/attr/rows",
    ) == [{"q": "two", "n": [2]}, 1, None, f"weave:///{PROJECT}/table/{table}"]
    for missing in (f"{table}/id/{stranger}", f"{table}/id/nothing"):
        with pytest.raises(NotFoundError, match=f"not found: weave:///{PROJECT}/table/{missing}"):
            await refs.values([f"{data}/attr/rows/id/{missing.rpartition('/')[2]}"])
    assert other != table


@pytest.mark.usefixtures("small_chunks")
async def test_row_is_found_in_whichever_chunk_it_is(
    objects: ObjectsStore, tables: TablesStore, refs: RefsStore
) -> None:
    table, rows = await tables.create(PROJECT, [{"n": n} for n in range(100)])
    data = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "data")

    assert await values(refs, *(f"{data}/attr/rows/id/{row}/key/n" for row in rows)) == list(range(100))


async def test_step_into_a_table_must_name_a_row(objects: ObjectsStore, tables: TablesStore, refs: RefsStore) -> None:
    table, _ = await tables.create(PROJECT, [{"q": 1}])
    data = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "data")
    fine = await made(objects, 1)

    error = await refusal(refs, fine, f"{data}/attr/rows/index/0")

    assert error.argument == "refs.1"
    assert f"'{data}/attr/rows/index/0' cannot be followed: index does not apply to a table" in error.message


@pytest.mark.parametrize(
    ("edges", "reason"),
    [
        ("/index/0", "index/0 applies to lists, but the value is an object"),
        ("/key/list/id/abc", "id/abc applies to tables, but the value is not a table"),
        ("/id/abc", "id/abc applies to tables, but the value is not a table"),
    ],
)
async def test_invalid_step_into_a_value_is_refused(
    objects: ObjectsStore, refs: RefsStore, edges: str, reason: str
) -> None:
    ref = await made(objects, VALUE)

    error = await refusal(refs, ref, ref + edges)

    assert (error.argument, reason in error.message, repr(ref + edges) in error.message) == ("refs.1", True, True)


async def test_deleted_target_and_its_content_are_null(objects: ObjectsStore, refs: RefsStore) -> None:
    gone, stays = await made(objects, {"n": 1}, "gone"), await made(objects, {"n": 2}, "stays")
    outer = await made(objects, {"gone": gone}, "outer")

    await objects.delete(PROJECT, "gone", [gone.rpartition(":")[2]])

    assert await values(refs, gone, f"{gone}/key/n", f"{outer}/key/gone/key/n", f"{outer}/key/gone", stays) == [
        None,
        None,
        None,
        gone,
        {"n": 2},
    ]


async def test_all_missing_refs_are_listed(objects: ObjectsStore, refs: RefsStore) -> None:
    there = await made(objects, 1)
    digest = there.rpartition(":")[2]
    wrong = [f"weave:///{PROJECT}/object/{name}" for name in ("nobody:abc", f"wrong:{digest}", "prompt:v0")]
    nested = await made(objects, {"to": wrong[0]}, "nested")

    with pytest.raises(NotFoundError) as raised:
        await refs.values([wrong[0], there, wrong[1], f"{wrong[2]}/key/x", wrong[1]])

    assert (raised.value.message, raised.value.argument) == (f"not found: {', '.join(wrong)}", "refs")
    with pytest.raises(NotFoundError, match=f"not found: {wrong[0]}$"):
        await refs.values([f"{nested}/key/to/key/on"])
    with pytest.raises(NotFoundError, match=r" and 5 more$"):
        await refs.values([f"weave:///{PROJECT}/object/nobody:{n}" for n in range(25)])


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("prompt", "is not a ref"),
        ("", "is not a ref"),
        ("weave:///acme/chat/object/x:y/wrong/1", "a step is one of"),
        ("weave:///acme/chat/object/x:y/index/one", "an index step takes an integer"),
        ("weave:///acme/chat/table/abc", "is the ref of a table"),
        (f"weave:///acme/chat/call/{call_id(1)}", "is the ref of a call"),
        ("weave:///acme/chat/object/x:latest", "must name a version by its digest instead of latest"),
        ("weave:///acme/chat/object/x:*", "must name a version by its digest instead of *"),
        ("weave:///ac%6de/chat/object/x:y", "is not a project id"),
        ("wandb-artifact:///acme/chat/a:v0", "is not a ref"),
        ("weave-trace-internal:///abc/object/x:y", "is not a ref"),
    ],
)
async def test_ref_to_anything_but_a_version_is_refused(
    objects: ObjectsStore, refs: RefsStore, ref: str, reason: str
) -> None:
    error = await refusal(refs, await made(objects, 1), ref)

    assert (error.argument, reason in error.message) == ("refs.1", True), error.message


async def test_1_001_refs_are_refused(objects: ObjectsStore, refs: RefsStore) -> None:
    ref = await made(objects, 7)

    assert await values(refs, *[ref] * 1000) == [7] * 1000
    error = await refusal(refs, *[ref] * 1001)
    assert (error.message, error.argument) == ("has 1,001 refs; the limit is 1,000", "refs")


async def test_batch_may_span_projects_but_refs_may_not(
    objects: ObjectsStore, refs: RefsStore, commands: Commands
) -> None:
    here = await made(objects, {"n": 1})
    there = await made(objects, {"n": 2}, project_id="other/place")
    across = await made(objects, {"to": there}, "across")
    commands.sent.clear()

    found = await values(refs, there, here, f"{across}/key/to", f"{across}/key/to/key/n", f"{there}/key/n")

    assert found == [{"n": 2}, {"n": 1}, there, None, 2]
    assert commands.names == ["find"]


async def test_equal_name_and_digest_of_another_project_is_not_found(objects: ObjectsStore, refs: RefsStore) -> None:
    ref = await made(objects, {"n": 1})

    with pytest.raises(NotFoundError, match="not found: weave:///other/place/object/prompt"):
        await refs.values([ref, ref.replace(PROJECT, "other/place")])


async def test_refs_to_calls_and_artifacts_are_not_followed(objects: ObjectsStore, refs: RefsStore) -> None:
    call, artifact = f"weave:///{PROJECT}/call/{call_id(1)}", "wandb-artifact:///acme/chat/a:v0"
    ref = await made(objects, {"call": call, "artifact": artifact})

    assert await values(refs, f"{ref}/key/call", f"{ref}/key/call/key/x", f"{ref}/key/artifact/key/x") == [
        call,
        None,
        None,
    ]


async def test_circular_refs_terminate(
    objects: ObjectsStore, refs: RefsStore, database: Database, commands: Commands
) -> None:
    # No digest can contain itself, so only a direct write to MongoDB makes a circle.
    one, two = await made(objects, {"to": 1}, "one"), await made(objects, {"to": 2}, "two")
    for ref, to in ((one, two), (two, f"{one}/key/to")):
        text = json.dumps({"to": f"{to}/key/to"})
        await database.objects.update_many({"digest": ref.rpartition(":")[2]}, {"$set": {"json.val": text}})
    commands.sent.clear()

    error = await refusal(refs, f"{one}/key/to/key/on")

    assert error.argument == "refs.0"
    assert f"leads through more than {MAX_HOPS} refs, perhaps in a cycle" in error.message
    assert commands.names == ["find"] * 2


async def test_longest_allowed_ref_chain_is_followed(objects: ObjectsStore, refs: RefsStore) -> None:
    ref = await made(objects, {"to": "the end"}, "end")
    for n in range(MAX_HOPS - 1):
        ref = await made(objects, {"to": ref}, f"link{n}")

    assert await values(refs, ref + "/key/to" * MAX_HOPS) == ["the end"]
    longer = await made(objects, {"to": ref}, "longer")
    assert "in a cycle" in (await refusal(refs, longer + "/key/to" * (MAX_HOPS + 1))).message


async def test_command_count_does_not_depend_on_the_number_of_refs(
    objects: ObjectsStore, tables: TablesStore, refs: RefsStore, commands: Commands
) -> None:
    table, rows = await tables.create(PROJECT, [{"n": n} for n in range(300)])
    data = [await made(objects, {"n": n, "rows": f"weave:///{PROJECT}/table/{table}"}, f"data{n}") for n in range(20)]
    cell_refs = [f"{ref}/attr/rows/id/{row}/key/n" for ref in data for row in rows[:45]]
    commands.sent.clear()

    assert await values(refs, *cell_refs) == list(range(45)) * 20
    assert commands.names == ["find"] * 4


async def test_too_large_result_is_refused(
    objects: ObjectsStore, refs: RefsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await made(objects, "x" * 600, "one"), await made(objects, "x" * 601, "two")
    monkeypatch.setattr("stores.refs.store.MAX_CHARACTERS", 1_000)

    assert await values(refs, one) == ["x" * 600]
    for texts in ([one, one], [one, two]):
        error = await refusal(refs, *texts)
        assert (error.argument, "request fewer refs at once" in error.message) == ("refs", True)


async def test_data_read_on_all_hops_counts_towards_the_limit(
    objects: ObjectsStore, refs: RefsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await made(objects, {"to": "the end"}, "end")
    for n in range(9):
        ref = await made(objects, {"to": ref, "wide": "x" * 600}, f"link{n}")
    monkeypatch.setattr("stores.refs.store.MAX_CHARACTERS", 2_000)
    commands.sent.clear()

    error = await refusal(refs, ref + "/key/to" * 10)

    assert (error.argument, "request fewer refs at once" in error.message) == ("refs", True)
    assert commands.names == ["find"] * 3
    with pytest.raises(BadInputError):
        await refs.by_refs([(PROJECT, ref + "/key/to" * 10)])


async def test_result_texts_count_towards_the_limit(
    objects: ObjectsStore, refs: RefsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await made(objects, ["x" * 500] * 2)
    made_texts: list[str] = []
    encode = codec.encode

    def counted(value: object) -> str:
        made_texts.append(encode(value))
        return made_texts[-1]

    monkeypatch.setattr("stores.refs.store.codec.encode", counted)
    monkeypatch.setattr("stores.refs.store.MAX_CHARACTERS", 1_200)
    spelled = [f"{ref}/index/{index}" for index in (0, 1, -1, -2)]

    error = await refusal(refs, *spelled)

    assert (error.argument, len(made_texts)) == ("refs", 3)
    assert await values(refs, *spelled[:2]) == ["x" * 500] * 2


async def test_by_refs_returns_null_for_unresolvable_refs(objects: ObjectsStore, refs: RefsStore) -> None:
    ref = await made(objects, {"n": 1, "list": [1]})
    there = await made(objects, {"n": 2}, project_id="other/place")
    odd = ["text", f"{ref}/index/0", f"{ref}x", "weave:///acme/chat/table/abc", there, "wandb-artifact:///a/b/c", ""]

    found = await refs.by_refs([(PROJECT, text) for text in [ref, f"{ref}/key/n", *odd]])

    assert found == {
        (PROJECT, ref): '{"n":1,"list":[1]}',
        (PROJECT, f"{ref}/key/n"): "1",
        **{(PROJECT, text): None for text in odd},
    }
