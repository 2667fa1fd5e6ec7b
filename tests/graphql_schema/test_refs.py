"""Refs in the API: values in order, embedded as they are stored, and errors that name the ref."""

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.objects import ObjectsStore
from stores.tables import TablesStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.objects.builders import version

READ = "query ($refs: [String!]!) { refs(refs: $refs) }"


@pytest.fixture
def tables(database: Database) -> TablesStore:
    return TablesStore(database)


async def made(objects: ObjectsStore, val: object, object_id: str = "prompt") -> str:
    return f"weave:///{PROJECT}/object/{object_id}:{await objects.create(version(val, object_id=object_id))}"


async def test_refs_are_resolved_in_order(run: Run, objects: ObjectsStore) -> None:
    ref = await made(objects, {"messages": [{"content": "Be kind."}], "wide": 1 << 80})
    gone = await made(objects, 1, "gone")
    await objects.delete(PROJECT, "gone", ["latest"])

    answer = await run(READ, refs=[f"{ref}/key/messages/index/0/key/content", ref, gone, f"{ref}/key/none"])

    assert answer.errors == []
    assert answer.data == {
        "refs": ["Be kind.", {"messages": [{"content": "Be kind."}], "wide": 1 << 80}, None, None],
    }


async def test_missing_ref_is_null_and_invalid_ref_is_an_error(run: Run, objects: ObjectsStore) -> None:
    ref = await made(objects, {"a": 1})
    missing = f"weave:///{PROJECT}/object/prompt:v0"

    found = await run(READ, refs=[missing, ref])
    latest = await run(READ, refs=[ref, f"weave:///{PROJECT}/object/prompt:latest"])
    many = await run(READ, refs=[ref] * 1001)

    assert found == ({"refs": [None, {"a": 1}]}, [])
    assert (latest.code, latest.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "refs.1")
    assert (many.code, many.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "refs")


WALK = """
query ($project: ID!) {
    calls(projectId: $project) { nodes {
        inputRefs { ref kind value content: value(path: "text") obj { objectId versionIndex } }
        outputRefs { ref value }
    } }
}
"""


async def test_call_returns_entities_in_its_inputs_and_output(
    run: Run, objects: ObjectsStore, calls: CallsStore, tables: TablesStore
) -> None:
    prompt = await made(objects, {"text": "Be kind."})
    table, [row] = await tables.create(PROJECT, [{"q": 1}])
    data = await made(objects, {"rows": f"weave:///{PROJECT}/table/{table}"}, "data")
    gone = await made(objects, 1, "gone")
    await objects.delete(PROJECT, "gone", ["latest"])
    stranger = await objects.create(version(2, project_id="other/place"))
    inputs = {
        "prompt": prompt,
        "again": [{"prompt": f"{prompt}/key/text"}],
        "example": f"{data}/attr/rows/id/{row}",
        "table": f"weave:///{PROJECT}/table/{table}",
        "call": f"weave:///{PROJECT}/call/{call_id(1)}",
        "artifact": "wandb-artifact:///acme/chat/model",
        "gone": gone,
        "missing": f"weave:///{PROJECT}/object/nobody:x",
        "stranger": f"weave:///other/place/object/prompt:{stranger}",
        "no ref": "weave:///acme",
    }
    await calls.write([start(inputs=inputs), end(output=[prompt, prompt])])

    answer = await run(WALK, project=PROJECT)

    assert answer.errors == []
    [node] = answer.data["calls"]["nodes"]
    found = [
        (each["kind"], each["value"], each["content"], each["obj"] and each["obj"]["objectId"])
        for each in node["inputRefs"]
    ]
    assert [each["ref"] for each in node["inputRefs"]] == [
        prompt,
        f"{prompt}/key/text",
        *(inputs[name] for name in ("example", "table", "call", "artifact", "gone", "missing", "stranger")),
    ]
    assert found == [
        ("object", {"text": "Be kind."}, "Be kind.", "prompt"),
        ("object", "Be kind.", None, "prompt"),
        ("object", {"q": 1}, None, "data"),
        ("table", None, None, None),
        ("call", None, None, None),
        ("artifact", None, None, None),
        ("object", None, None, None),
        ("object", None, None, None),
        ("object", None, None, None),
    ]
    assert node["outputRefs"] == [{"ref": prompt, "value": {"text": "Be kind."}}] * 2


async def test_call_without_refs_has_no_ref_entities(run: Run, calls: CallsStore) -> None:
    await calls.write([start(inputs={"text": "weave:///acme"})])

    answer = await run(WALK, project=PROJECT)

    assert answer.data == {"calls": {"nodes": [{"inputRefs": [], "outputRefs": []}]}}


async def test_command_count_does_not_depend_on_the_refs_of_a_page(
    run: Run, objects: ObjectsStore, calls: CallsStore, commands: Commands
) -> None:
    prompts = [await made(objects, {"text": n}, f"prompt{n}") for n in range(10)]
    await calls.write([start(n, inputs={"a": prompts[n % 10], "b": prompts[n % 7]}) for n in range(60)])
    sent = []

    # In the first run of a selection, its first row loads alone.
    for first in (60, 1, 60):
        commands.sent.clear()
        answer = await run(WALK.replace("calls(", f"calls(first: {first} "), project=PROJECT)
        texts = [[ref["content"] for ref in node["inputRefs"]] for node in answer.data["calls"]["nodes"]]
        assert texts == [[n % 10, n % 7] for n in range(first)]
        sent.append(commands.names)

    assert sent[1:] == [["find", "find", "find"]] * 2
    assert len(sent[0]) <= 4


async def test_error_in_a_path_into_a_value_names_it(run: Run, objects: ObjectsStore, calls: CallsStore) -> None:
    await calls.write([start(inputs={"prompt": await made(objects, {"text": 1})})])

    answer = await run(WALK.replace('"text"', '"a..b"'), project=PROJECT)

    assert (answer.code, answer.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "path")
