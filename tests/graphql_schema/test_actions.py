"""Actions in the API: the answers and errors of each field."""

from typing import Any

import pytest

from app.providers import EnvironmentProviders
from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores.calls import CallsStore
from stores.database import Database
from stores.objects import ObjectsStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run, running
from tests.stand_in_provider import StandIn
from tests.stores.actions.specs import action, judging, looking_for
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.builders import call_ref

EXECUTE = """
    mutation ($ref: String!, $calls: [ID!]!, $user: String) {
        actionsExecuteBatch(projectId: "acme/chat", actionRef: $ref, callIds: $calls, wbUserId: $user) {
            numSucceeded
            numFailed
            results {
                callId
                output
                error { code message }
                feedback { id feedbackType weaveRef payload runnableRef wbUserId call { traceName } }
            }
        }
    }
"""
SPEC = """
    mutation ($val: JSON!) {
        objCreate(
            obj: {projectId: "acme/chat", objectId: "checker", val: $val, builtinObjectClass: "ActionSpec"}
        ) { digest }
    }
"""


@pytest.fixture
def run(schema: LoomSchema, database: Database, providers: EnvironmentProviders) -> Run:
    """Return a function that runs a document with model providers."""
    return running(schema, Context(Stores(database, providers)))


async def test_contained_words_are_stored_as_feedback(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1), end(1, output={"text": "a weft"}), start(2), end(2, output="a warp")])
    spec = {"name": "checker", "config": looking_for("weft")}
    digest = (await run(SPEC, val=spec)).data["objCreate"]["digest"]
    ref = f"weave:///{PROJECT}/object/checker:{digest}"

    answer = await run(EXECUTE, ref=ref, calls=[call_id(2), call_id(3), call_id(1)], user="ann")

    assert answer.errors == []
    done = answer.data["actionsExecuteBatch"]
    first, second, third = done["results"]
    kept = {
        "feedbackType": "wandb.runnable.checker",
        "runnableRef": ref,
        "wbUserId": "ann",
        "call": {"traceName": "answer"},
    }
    assert (done["numSucceeded"], done["numFailed"]) == (2, 1)
    ids = [first["feedback"].pop("id"), third["feedback"].pop("id")]
    assert first == {
        "callId": call_id(2),
        "output": False,
        "error": None,
        "feedback": {**kept, "weaveRef": call_ref(2), "payload": {"output": False}},
    }
    assert second == {
        "callId": call_id(3),
        "output": None,
        "error": {"code": "NOT_FOUND", "message": f"there is no call '{call_id(3)}' in acme/chat, or it is deleted"},
        "feedback": None,
    }
    assert third["output"] is True
    listed = await run('{ feedback(projectId: "acme/chat") { nodes { id } } }')
    assert {node["id"] for node in listed.data["feedback"]["nodes"]} == set(ids)


async def test_judge_response_accepts_a_path_and_is_feedback_on_its_call(
    run: Run, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    await calls.write([start(), end(output="x")])
    ref = await action(objects, judging())
    stand_in.reply = lambda _body: '{"score": 7, "why": "clear"}'
    document = """
        mutation ($ref: String!, $calls: [ID!]!) {
            actionsExecuteBatch(projectId: "acme/chat", actionRef: $ref, callIds: $calls) {
                results { score: output(path: "score") output feedback { score: payload(path: "output.score") } }
            }
        }
    """

    answer = await run(document, ref=ref, calls=[call_id(1)])

    [result] = answer.data["actionsExecuteBatch"]["results"]
    assert result == {"score": 7, "output": {"score": 7, "why": "clear"}, "feedback": {"score": 7}}
    score = "feedback.[wandb.runnable.checker].payload.output.score"
    query = f'{{expr: {{gt: [{{getField: "{score}"}}, {{literal: 5}}]}}}}'
    asked = f'{{ calls(projectId: "acme/chat", query: {query}) {{ nodes {{ feedback {{ nodes {{ payload }} }} }} }} }}'
    read = await run(asked)
    [node] = read.data["calls"]["nodes"]
    assert [each["payload"] for each in node["feedback"]["nodes"]] == [{"output": result["output"]}]


async def test_provider_failure_is_reported_with_its_call(
    run: Run, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    await calls.write([start(1), end(1, output="good"), start(2), end(2, output="odd")])
    ref = await action(objects, judging())
    stand_in.reply = lambda body: "no JSON" if "odd" in body["messages"][1]["content"] else '{"score": 1}'

    answer = await run(EXECUTE, ref=ref, calls=[call_id(1), call_id(2)])

    done = answer.data["actionsExecuteBatch"]
    assert (done["numSucceeded"], done["numFailed"]) == (1, 1)
    assert done["results"][1]["error"]["code"] == "PROVIDER_ERROR"
    assert done["results"][1]["error"]["message"].startswith("the model's response is not JSON")


async def test_empty_call_list_returns_no_results(run: Run, objects: ObjectsStore) -> None:
    answer = await run(EXECUTE, ref=await action(objects, looking_for("weft")), calls=[])

    assert answer.data["actionsExecuteBatch"] == {"numSucceeded": 0, "numFailed": 0, "results": []}


async def test_calls_of_all_results_are_read_in_one_batch(
    run: Run, calls: CallsStore, objects: ObjectsStore, commands: Commands
) -> None:
    numbers = range(1, 51)
    await calls.write([part for number in numbers for part in (start(number), end(number, output=number))])
    ref = await action(objects, looking_for("1"))
    sent = []
    for count in (1, 50):
        commands.sent.clear()
        answer = await run(EXECUTE, ref=ref, calls=[call_id(number) for number in range(1, count + 1)])
        assert answer.data["actionsExecuteBatch"]["numSucceeded"] == count
        sent.append(sum(name == "find" and body["find"] == "calls" for name, body in commands.sent))

    assert sent == [3, 3]


@pytest.mark.parametrize(
    ("changes", "code", "argument"),
    [
        ({"ref": "checker"}, "BAD_USER_INPUT", "actionRef"),
        ({"ref": f"weave:///{PROJECT}/object/checker:none"}, "NOT_FOUND", "actionRef"),
        ({"calls": [call_id(1), "x"]}, "BAD_USER_INPUT", "callIds.1"),
        ({"user": "x" * 1_025}, "BAD_USER_INPUT", "wbUserId"),
    ],
)
async def test_invalid_arguments_are_named(
    run: Run, objects: ObjectsStore, changes: dict[str, Any], code: str, argument: str
) -> None:
    given = {"ref": await action(objects, looking_for("weft")), "calls": [call_id(1)], **changes}

    answer = await run(EXECUTE, **given)

    assert answer.code == code
    assert answer.errors[0]["extensions"]["argument"] == argument
    assert answer.data == {"actionsExecuteBatch": None}


async def test_deleted_action_error_has_the_deletion_time(run: Run, objects: ObjectsStore) -> None:
    ref = await action(objects, looking_for("weft"))
    await objects.delete(PROJECT, "checker")

    answer = await run(EXECUTE, ref=ref, calls=[call_id(1)])

    assert answer.code == "OBJECT_DELETED"
    assert answer.errors[0]["extensions"]["deletedAt"].endswith("Z")
    assert answer.errors[0]["extensions"]["argument"] == "actionRef"


async def test_server_without_providers_matches_words_and_explains_judges(
    schema: LoomSchema, database: Database, calls: CallsStore, objects: ObjectsStore
) -> None:
    run = running(schema, Context(Stores(database)))
    await calls.write([start(), end(output="weft")])

    found = await run(EXECUTE, ref=await action(objects, looking_for("weft")), calls=[call_id(1)])
    judged = await run(EXECUTE, ref=await action(objects, judging(), "judge"), calls=[call_id(1)])

    assert found.data["actionsExecuteBatch"]["results"][0]["output"] is True
    [result] = judged.data["actionsExecuteBatch"]["results"]
    assert result["error"]["code"] == "PROVIDER_ERROR"
