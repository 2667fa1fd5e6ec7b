"""Text search in the API."""

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores.calls import CallsStore
from stores.database import Database
from stores.security.access import ANONYMOUS_ADMIN
from tests.commands import Commands
from tests.graphql_schema.conftest import Run, running
from tests.stores.calls.builders import PROJECT, call_id, end, start

SEARCH = """
query Find($text: String!, $first: Int, $after: String, $method: CallSearchMethod, $max: Int) {
  search(
    projectId: "acme/chat", text: $text, first: $first, after: $after, method: $method, maxHighlights: $max
  ) {
    method isComplete totalCount
    pageInfo { hasNextPage endCursor }
    edges { cursor node { score call { id traceName output } highlights {
      field path inKey snippet isCutBefore isCutAfter ranges { start end }
    } } }
  }
}
"""
INDEX = 'searchIndex(projectId: "acme/chat") { isOn isReady waiting cut lookedAt total setAt readyAt sizeBytes }'


@pytest.fixture
async def _stored(calls: CallsStore) -> None:
    """Store two calls about the weft, one with the word in its output."""
    await calls.write(
        [
            start(1, inputs={"question": "What is the weft?"}),
            start(2, inputs={"question": "And then?"}),
            end(2, output={"answer": "😀 The Weft is a thread."}),
        ]
    )


@pytest.mark.usefixtures("_stored")
async def test_result_has_the_match_positions_and_the_method(run: Run) -> None:
    answer = await run(SEARCH, text="weft", first=1)

    assert answer.errors == []
    found = answer.data["search"]
    [edge] = found["edges"]
    assert (found["method"], found["isComplete"], found["totalCount"]) == ("SCAN", True, 2)
    assert found["pageInfo"] == {"hasNextPage": True, "endCursor": edge["cursor"]}
    assert edge["node"] == {
        "score": 2,
        "call": {"id": call_id(2), "traceName": "answer", "output": {"answer": "😀 The Weft is a thread."}},
        "highlights": [
            {
                "field": "OUTPUT",
                "path": "answer",
                "inKey": False,
                "snippet": "😀 The Weft is a thread.",
                "isCutBefore": False,
                "isCutAfter": False,
                "ranges": [{"start": 7, "end": 11}],
            }
        ],
    }
    following = (await run(SEARCH, text="weft", after=edge["cursor"])).data["search"]
    assert [each["node"]["call"]["id"] for each in following["edges"]] == [call_id(1)]
    assert following["edges"][0]["node"]["call"]["output"] is None


@pytest.mark.usefixtures("_stored")
async def test_pages_go_backward(run: Run) -> None:
    back = """query($before: String) { search(projectId: "acme/chat", text: "answer", last: 1, before: $before) {
      nodes { call { id } } pageInfo { hasNextPage hasPreviousPage startCursor } } }"""

    last = (await run(back)).data["search"]
    first = (await run(back, before=last["pageInfo"]["startCursor"])).data["search"]
    mixed = await run('{ search(projectId: "acme/chat", text: "answer", first: 1, last: 1) { nodes { score } } }')

    assert [each["nodes"][0]["call"]["id"] for each in (last, first)] == [call_id(1), call_id(2)]
    assert (last["pageInfo"]["hasNextPage"], last["pageInfo"]["hasPreviousPage"]) == (False, True)
    assert (first["pageInfo"]["hasNextPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    assert mixed.code == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"text": ""}, "text"),
        ({"text": "x" * 1001}, "text"),
        ({"text": "-x"}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"text": "x", "first": -1}, "first"),
        ({"text": "x", "first": 10_001}, "first"),
        ({"text": "x", "after": "x"}, "after"),
        ({"text": "x", "method": "INDEX"}, "method"),
        ({"text": "x", "max": 101}, "maxHighlights"),
    ],
)
async def test_invalid_arguments_are_named(run: Run, given: dict[str, object], argument: str) -> None:
    answer = await run(SEARCH, **given)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == argument


@pytest.mark.usefixtures("_stored")
async def test_unselected_fields_are_not_read(run: Run, commands: Commands) -> None:
    commands.sent.clear()

    answer = await run('{ search(projectId: "acme/chat", text: "weft") { nodes { score } } }')

    assert answer.data == {"search": {"nodes": [{"score": 2}, {"score": 1}]}}
    assert commands.names == ["find", "find"]  # one checks for an index, the other scans


@pytest.mark.usefixtures("_stored")
@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_only_administrators_switch_an_index(schema: LoomSchema, database: Database, run: Run) -> None:
    switch = 'mutation { searchIndexSet(projectId: "acme/chat", isOn: %s) { isOn isReady total } }'
    refused = await run(switch % "true")
    stores = Stores(database)
    admin = running(schema, Context(stores, caller=ANONYMOUS_ADMIN))

    switched = await admin(switch % "true")
    await stores.text_search.work(PROJECT)
    ready = await admin(f"{{ {INDEX} }}")
    found = await run(SEARCH, text="weft", method="INDEX")
    off = await admin(switch % "false")

    assert refused.code == "FORBIDDEN"
    assert "loomql search on acme/chat" in refused.errors[0]["message"]
    assert switched.data == {"searchIndexSet": {"isOn": True, "isReady": False, "total": 2}}
    state = ready.data["searchIndex"]
    assert (state["isOn"], state["isReady"], state["waiting"], state["cut"]) == (True, True, 2, 0)
    assert state["setAt"] <= state["readyAt"]
    assert [each["node"]["score"] for each in found.data["search"]["edges"]] == [2, 1]
    assert off.data["searchIndexSet"]["isOn"] is False


async def test_missing_project_has_no_index(run: Run, schema: LoomSchema, database: Database) -> None:
    admin = running(schema, Context(Stores(database), caller=ANONYMOUS_ADMIN))

    assert (await run(f"{{ {INDEX} }}")).data == {"searchIndex": None}
    assert (await admin('mutation { searchIndexSet(projectId: "acme/chat", isOn: true) { isOn } }')).code == "NOT_FOUND"
    assert (await run(SEARCH, text="weft")).data["search"]["edges"] == []
