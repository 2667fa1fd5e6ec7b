"""Objects and ops in the API: the answers and errors of each field."""

from typing import Any

import pytest

from stores.objects import ObjectsStore
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT
from tests.stores.objects.builders import version

CREATE = "mutation ($obj: ObjSchemaForInsert!) { objCreate(obj: $obj) { digest ref } }"
CREATE_OP = "mutation ($obj: ObjSchemaForInsert!) { opCreate(opObj: $obj) { digest ref } }"
DELETE = """
    mutation ($id: String!, $digests: [String!]) {
        objDelete(projectId: "acme/chat", objectId: $id, digests: $digests) { numDeleted }
    }
"""
DELETE_OP = """
    mutation ($name: String!, $digests: [String!]) {
        opDelete(projectId: "acme/chat", name: $name, digests: $digests) { numDeleted }
    }
"""
READ = """
    query ($id: String!, $digest: String! = "latest") {
        obj(projectId: "acme/chat", objectId: $id, digest: $digest) { digest ref versionIndex val }
    }
"""
READ_OP = """
    query ($name: String!, $digest: String! = "latest") {
        op(projectId: "acme/chat", name: $name, digest: $digest) { digest ref kind val }
    }
"""
OP = {"_type": "Op"}


def made(val: object, **changes: Any) -> dict[str, Any]:
    return {"projectId": PROJECT, "objectId": "prompt", "val": val} | changes


async def test_version_is_read_as_created(run: Run) -> None:
    val = {"_class_name": "GPT", "_bases": ["Model", "Object", "BaseModel"], "temperature": 0.5, "n": 2**70}
    created = (await run(CREATE, obj=made(val, wbUserId="ann"))).data["objCreate"]

    answer = await run(
        """
        {
            obj(projectId: "acme/chat", objectId: "prompt") {
                projectId objectId createdAt deletedAt digest versionIndex isLatest kind baseObjectClass
                leafObjectClass val temperature: val(path: "temperature") wbUserId sizeBytes ref
            }
        }
        """
    )

    obj = answer.data["obj"]
    assert obj.pop("createdAt").startswith("20")
    assert obj == {
        "projectId": PROJECT,
        "objectId": "prompt",
        "deletedAt": None,
        "digest": created["digest"],
        "versionIndex": 0,
        "isLatest": 1,
        "kind": "object",
        "baseObjectClass": "Model",
        "leafObjectClass": "GPT",
        "val": val,
        "temperature": 0.5,
        "wbUserId": "ann",
        "sizeBytes": len(
            f'{{"_class_name": "GPT", "_bases": ["Model", "Object", "BaseModel"], "temperature": 0.5, "n": {2**70}}}'
        ),
        "ref": created["ref"],
    }
    assert created["ref"] == f"weave:///{PROJECT}/object/prompt:{created['digest']}"


async def test_op_is_read_as_an_op_however_created(run: Run) -> None:
    by_value = (await run(CREATE, obj=made({"_type": "Op"}, objectId="f"))).data["objCreate"]
    forced = (await run(CREATE_OP, obj=made("source", objectId="g"))).data["opCreate"]
    await run(CREATE, obj=made("source", objectId="h"))

    listed = await run('{ ops(projectId: "acme/chat") { totalCount nodes { objectId kind } } }')
    named = await run('{ ops(projectId: "acme/chat", filter: {opNames: ["g", "h"]}) { nodes { objectId } } }')

    assert (await run(READ_OP, name="f")).data == {"op": by_value | {"kind": "op", "val": {"_type": "Op"}}}
    assert (await run(READ_OP, name="g")).data == {"op": forced | {"kind": "op", "val": "source"}}
    assert (await run(READ_OP, name="h")).data == {"op": None}
    assert listed.data["ops"] == {
        "totalCount": 2,
        "nodes": [{"objectId": name, "kind": "op"} for name in "fg"],
    }
    assert named.data["ops"]["nodes"] == [{"objectId": "g"}]


async def test_op_with_an_objects_name_is_found_and_deleted(run: Run) -> None:
    created = (await run(CREATE, obj=made(OP))).data["objCreate"]
    op = created["digest"]
    plain = (await run(CREATE, obj=made(1))).data["objCreate"]["digest"]

    assert (await run(READ, id="prompt", digest=op)).data["obj"] == created | {"versionIndex": 0, "val": OP}
    assert (await run(DELETE_OP, name="prompt", digests=["v0"])).data == {"opDelete": {"numDeleted": 1}}

    assert (await run(READ, id="prompt", digest=op)).data == {"obj": None}
    assert (await run(READ, id="prompt")).data["obj"]["digest"] == plain
    refused = await run(DELETE_OP, name="prompt")
    assert (refused.code, refused.errors[0]["extensions"]["argument"]) == ("NOT_FOUND", "name")


async def test_too_many_names_error_uses_the_argument_name(run: Run) -> None:
    for field, kind, argument in (("ops", "OpVersionFilter", "opNames"), ("objs", "ObjectVersionFilter", "objectIds")):
        document = f'query ($f: {kind}!) {{ {field}(projectId: "acme/chat", filter: $f) {{ totalCount }} }}'

        answer = await run(document, f={argument: ["f"] * 1_001})

        assert answer.code == "BAD_USER_INPUT"
        assert answer.errors[0]["extensions"]["argument"] == f"filter.{argument}"


async def test_null_is_a_valid_value(run: Run) -> None:
    created = (await run(CREATE, obj=made(None))).data["objCreate"]

    assert created["digest"] == "dCNOmKYnSYX12vHzasLXiswzlGT5UHA7jAGYkvmCuQs"
    assert (await run(READ, id="prompt")).data == {"obj": created | {"versionIndex": 0, "val": None}}


async def test_deleted_version_is_null(run: Run, objects: ObjectsStore) -> None:
    await objects.create(version(1))
    assert (await run(DELETE, id="prompt", digests=["v0"])).data == {"objDelete": {"numDeleted": 1}}

    assert await run(READ, id="prompt") == ({"obj": None}, [])


async def test_missing_version_is_null_to_read_and_not_found_to_delete(run: Run, objects: ObjectsStore) -> None:
    await objects.create(version(OP, object_id="f"))
    await objects.create(version(1, object_id="known"))
    for document, field, variables in (
        (READ, "obj", {"id": "nope"}),
        (READ, "obj", {"id": "known", "digest": "v99999999999"}),
        (READ, "obj", {"id": "f", "digest": "nope"}),
        (READ_OP, "op", {"name": "known"}),
        (READ_OP, "op", {"name": "f", "digest": "v1"}),
    ):
        assert await run(document, **variables) == ({field: None}, [])
    for digests, argument in ((None, "objectId"), (["x"], "digests")):
        answer = await run(DELETE, id="prompt", digests=digests)
        assert answer.code == "NOT_FOUND"
        assert answer.errors[0]["extensions"]["argument"] == argument


@pytest.mark.parametrize(
    ("obj", "argument", "code"),
    [
        (made(1, objectId="a/b"), "obj.objectId", "BAD_USER_INPUT"),
        (made(1, projectId="acme"), "obj.projectId", "BAD_USER_INPUT"),
        (made({}, builtinObjectClass="Provider"), "obj.val.base_url", "BAD_USER_INPUT"),
        (made({"field_schema": {"type": 1}}, setBaseObjectClass="AnnotationSpec"), "obj.val.field_schema", None),
        (made({"$x": 1}, builtinObjectClass="ProviderModel"), "obj.val.provider", None),
        (made({}, builtinObjectClass="Nope"), "obj.builtinObjectClass", "BAD_USER_INPUT"),
        (made("x" * 20_000_000), "obj.val", "PAYLOAD_TOO_LARGE"),
        ({"projectId": PROJECT, "objectId": "prompt"}, "obj.val", "BAD_USER_INPUT"),
    ],
    ids=lambda given: str(given)[:40],
)
async def test_invalid_arguments_are_named(run: Run, obj: dict[str, Any], argument: str, code: str | None) -> None:
    answer = await run(CREATE, obj=obj)

    assert answer.code == code or code is None
    assert answer.errors[0]["extensions"]["argument"] == argument
    assert answer.errors[0]["message"].startswith(f"{argument}: ")


async def test_objects_are_queried_sorted_and_paged(run: Run, objects: ObjectsStore) -> None:
    for number in range(5):
        await objects.create(version({"n": number, "even": not number % 2}))
    document = """
        query ($after: String) {
            objs(
                projectId: "acme/chat", first: 2, after: $after
                filter: {objectIds: ["prompt"], isOp: false}
                query: {expr: {eq: [{getField: "val.even"}, {literal: true}]}}
                sortBy: [{field: "val.n", direction: DESC}]
            ) { totalCount pageInfo { hasNextPage endCursor } nodes { n: val(path: "n") } }
        }
    """

    first = (await run(document)).data["objs"]
    second = (await run(document, after=first["pageInfo"]["endCursor"])).data["objs"]

    assert first["totalCount"] == 3
    assert [node["n"] for node in first["nodes"] + second["nodes"]] == [4, 2, 0]
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)


async def test_versions_of_one_object_are_paged_by_cursor(run: Run, objects: ObjectsStore) -> None:
    digests = [await objects.create(version(number)) for number in range(5)]
    document = """
        query ($after: String) {
            obj(projectId: "acme/chat", objectId: "prompt") {
                versions(first: 2, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes { digest } }
            }
        }
    """

    found, after = [], None
    for _ in range(3):
        page = (await run(document, after=after)).data["obj"]["versions"]
        found += [node["digest"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]

    assert found == digests
    assert page["totalCount"] == 5
    assert not page["pageInfo"]["hasNextPage"]
    assert (await run(document, after="x")).code == "BAD_USER_INPUT"


async def test_last_versions_are_read_from_the_end(run: Run, objects: ObjectsStore) -> None:
    for number in range(5):
        await objects.create(version(number))

    answer = await run('{ obj(projectId: "acme/chat", objectId: "prompt") { versions(last: 2) { nodes { val } } } }')

    assert answer.data["obj"]["versions"]["nodes"] == [{"val": 3}, {"val": 4}]
