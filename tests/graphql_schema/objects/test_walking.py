"""Links from calls to ops and from objects to versions and calls: all links of a page load together."""

from collections import Counter
from typing import Any

from stores.calls import CallsStore
from stores.objects import ObjectsStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.objects.builders import version

OP = {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}, "files": {}}


def ref(object_id: str, digest: str, kind: str = "object") -> str:
    return f"weave:///{PROJECT}/{kind}/{object_id}:{digest}"


async def test_one_query_leads_from_a_call_to_its_op_versions_and_back(
    run: Run, objects: ObjectsStore, calls: CallsStore
) -> None:
    digests = [await objects.create(version(OP | {"n": n}, object_id="answer")) for n in range(3)]
    prompt = await objects.create(version("Be kind."))
    took = ref("prompt", prompt)
    await calls.write(
        [start(n, op_name=ref("answer", digests[n], "op"), inputs={"prompt": took}) for n in (0, 1)]
        + [start(2, inputs={"prompt": f"{took}/attr/text"})]
    )

    answer = await run(
        """
        query ($project: ID!, $id: ID!) {
            call(projectId: $project, id: $id) {
                ref
                op { ref versionIndex n: val(path: "n") versions { totalCount nodes { digest isLatest } } }
            }
            obj(projectId: $project, objectId: "prompt") {
                ref val usedBy(first: 5) { totalCount nodes { id op { objectId } } }
            }
        }
        """,
        project=PROJECT,
        id=call_id(1),
    )

    assert answer.data == {
        "call": {
            "ref": f"weave:///{PROJECT}/call/{call_id(1)}",
            "op": {
                "ref": ref("answer", digests[1], "op"),
                "versionIndex": 1,
                "n": 1,
                "versions": {
                    "totalCount": 3,
                    "nodes": [{"digest": digest, "isLatest": int(n == 2)} for n, digest in enumerate(digests)],
                },
            },
        },
        "obj": {
            "ref": took,
            "val": "Be kind.",
            "usedBy": {
                "totalCount": 2,
                "nodes": [{"id": call_id(n), "op": {"objectId": "answer"}} for n in (0, 1)],
            },
        },
    }


async def test_call_with_a_plain_or_unknown_op_name_has_no_op(
    run: Run, objects: ObjectsStore, calls: CallsStore
) -> None:
    digest = await objects.create(version(OP, object_id="answer"))
    gone = await objects.create(version(OP | {"n": 1}, object_id="gone"))
    other = await objects.create(version(OP, object_id="other", project_id="acme/other"))
    await objects.delete(PROJECT, "gone")
    names = [
        "answer",
        ref("answer", digest, "op"),
        ref("answer", "unknown", "op"),
        ref("gone", gone, "op"),
        f"weave:///acme/other/op/other:{other}",
    ]
    await calls.write([start(number, op_name=name) for number, name in enumerate(names)])

    answer = await run(
        "query ($project: ID!) { calls(projectId: $project) { nodes { op { digest } } } }", project=PROJECT
    )

    assert [node["op"] for node in answer.data["calls"]["nodes"]] == [None, {"digest": digest}, None, None, None]


WALK = """
query ($project: ID!, $first: Int!) {
    calls(projectId: $project, first: $first) { nodes { id op { objectId digest versions(first: 2) {
        totalCount nodes { digest } } } } }
    objs(projectId: $project, first: $first) { nodes {
        objectId usedBy(first: 1) { totalCount nodes { id op { digest } } } versions { nodes { digest } }
    } }
}
"""


async def test_command_count_does_not_depend_on_page_size(
    run: Run, objects: ObjectsStore, calls: CallsStore, commands: Commands
) -> None:
    for number in range(40):
        op = await objects.create(version(OP | {"n": number}, object_id=f"op_{number % 7}"))
        prompt = await objects.create(version(number, object_id=f"prompt_{number}"))
        await calls.write(
            [
                start(number, op_name=ref(f"op_{number % 7}", op, "op"), inputs={"p": ref(f"prompt_{number}", prompt)}),
            ]
        )

    async def walk(first: int) -> tuple[Any, Counter[str]]:
        commands.sent.clear()
        answer = await run(WALK, project=PROJECT, first=first)
        assert not answer.errors
        return answer.data, Counter(name for name, _ in commands.sent)

    _, few = await walk(2)
    data, many = await walk(40)

    assert len(data["calls"]["nodes"]) == len(data["objs"]["nodes"]) == 40
    assert all(node["op"]["versions"]["totalCount"] in (5, 6) for node in data["calls"]["nodes"])
    assert many == few
    assert sum(many.values()) <= 12


async def test_value_returns_each_referenced_entity_once_and_recursively(run: Run, objects: ObjectsStore) -> None:
    prompts = [ref("prompt", await objects.create(version({"text": text}))) for text in ("Be kind.", "Be brief.")]
    gone = ref("gone", await objects.create(version(1, object_id="gone")))
    await objects.delete(PROJECT, "gone", ["latest"])
    val = {"prompts": [*prompts, prompts[0], f"{prompts[0]}/key/text"], "gone": gone, "plain": "weave:///acme"}
    await objects.create(version(val, object_id="model"))
    await objects.create(version({"model": ref("model", "none")}, object_id="stray"))

    answer = await run(
        """
        query ($project: ID!) {
            model: obj(projectId: $project, objectId: "model") {
                refs { ref kind value obj { versionIndex refs { ref } versions { totalCount } } }
            }
            stray: obj(projectId: $project, objectId: "stray") { refs { kind obj { digest } } }
        }
        """,
        project=PROJECT,
    )

    first: dict[str, Any] = {"versionIndex": 0, "refs": [], "versions": {"totalCount": 2}}
    assert answer.data == {
        "model": {
            "refs": [
                {"ref": prompts[0], "kind": "object", "value": {"text": "Be kind."}, "obj": first},
                {
                    "ref": prompts[1],
                    "kind": "object",
                    "value": {"text": "Be brief."},
                    "obj": first | {"versionIndex": 1},
                },
                {"ref": f"{prompts[0]}/key/text", "kind": "object", "value": "Be kind.", "obj": first},
                {"ref": gone, "kind": "object", "value": None, "obj": None},
            ]
        },
        "stray": {"refs": [{"kind": "object", "obj": None}]},
    }


REFERRING = (
    "query ($project: ID!, $first: Int!) { ops(projectId: $project, first: $first) { nodes { refs { obj { val } } } } }"
)


async def test_command_count_does_not_depend_on_the_refs_of_a_page(
    run: Run, objects: ObjectsStore, commands: Commands
) -> None:
    for number in range(30):
        prompt = ref("prompt", await objects.create(version(number)))
        await objects.create(version(OP | {"prompt": prompt}, object_id=f"op_{number}"))
    sent = []

    for first in (1, 30):
        commands.sent.clear()
        answer = await run(REFERRING, project=PROJECT, first=first)
        assert [node["refs"] for node in answer.data["ops"]["nodes"]] == [[{"obj": {"val": n}}] for n in range(first)]
        sent.append(commands.names)

    assert sent == [["find", "find"]] * 2
