"""Refs over GraphQL: values in order, spliced as they are kept, and errors that name the ref."""

from stores.objects import ObjectsStore
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT
from tests.stores.objects.builders import version

READ = "query ($refs: [String!]!) { refs(refs: $refs) }"


async def made(objects: ObjectsStore, val: object, object_id: str = "prompt") -> str:
    return f"weave:///{PROJECT}/object/{object_id}:{await objects.create(version(val, object_id=object_id))}"


async def test_refs_answer_in_order(run: Run, objects: ObjectsStore) -> None:
    ref = await made(objects, {"messages": [{"content": "Be kind."}], "wide": 1 << 80})
    gone = await made(objects, 1, "gone")
    await objects.delete(PROJECT, "gone", ["latest"])

    answer = await run(READ, refs=[f"{ref}/key/messages/index/0/key/content", ref, gone, f"{ref}/key/none"])

    assert answer.errors == []
    assert answer.data == {
        "refs": ["Be kind.", {"messages": [{"content": "Be kind."}], "wide": 1 << 80}, None, None],
    }


async def test_what_is_missing_and_what_is_wrong_say_so(run: Run, objects: ObjectsStore) -> None:
    ref = await made(objects, {"a": 1})
    missing = f"weave:///{PROJECT}/object/prompt:v0"

    not_found = await run(READ, refs=[ref, missing])
    latest = await run(READ, refs=[ref, f"weave:///{PROJECT}/object/prompt:latest"])
    many = await run(READ, refs=[ref] * 1001)

    assert (not_found.code, not_found.errors[0]["message"]) == ("NOT_FOUND", f"refs: not found: {missing}")
    assert (latest.code, latest.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "refs.1")
    assert (many.code, many.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "refs")
