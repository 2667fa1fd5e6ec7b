"""Projects in the API: their fields are computed only if selected, in few commands for each page."""

from collections import Counter
from typing import Any, NoReturn

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema, build_schema
from stores.calls import CallsStore
from stores.costs.store import CostsStore, NewCost
from stores.database import Database
from stores.errors import StoreTimeoutError
from stores.feedback import FeedbackStore
from stores.files import FilesStore, NewFile
from stores.objects import ObjectsStore
from stores.projects import ProjectsStore
from stores.security.access import ANONYMOUS_ADMIN, ANONYMOUS_WRITER, NOBODY, Caller, Grant, Role
from stores.tables import TablesStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run, running
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.builders import note
from tests.stores.objects.builders import version

ENSURE = """
mutation ($entity: String!, $project: String!) {
  ensureProjectExists(entity: $entity, project: $project) { projectName projectId }
}
"""
SIZES = "traceStorageSizeBytes objectsStorageSizeBytes tablesStorageSizeBytes filesStorageSizeBytes"
EVERYTHING = (
    "query ($first: Int) { projects(first: $first) { totalCount nodes { id entity name createdAt lastActivityAt "
    f"callCount objectCount feedbackCount stats {{ {SIZES} }} }} }} }}"
)
STATS = f"query ($project: ID!) {{ projectStats(projectId: $project) {{ {SIZES} }} }}"


@pytest.fixture
async def chat(database: Database, calls: CallsStore, objects: ObjectsStore) -> None:
    """Store two calls of 10 bytes each, an object of 13, a table with rows of 16 and a file of 5."""
    await calls.write([start(number, inputs={"a": 1}) for number in (1, 2)])
    await objects.create(version({"x": [1, 2]}))
    await TablesStore(database).create(PROJECT, [{"a": 1}, {"a": 1}, {"b": 2}])
    await FilesStore(database).create_all(PROJECT, [NewFile.of(b"hello")])


async def test_project_can_be_ensured_repeatedly(run: Run) -> None:
    for _ in range(2):
        answer = await run(ENSURE, entity="acme", project=" my chat ")
        assert answer.data == {"ensureProjectExists": {"projectName": "my chat", "projectId": "acme/my chat"}}

    listed = await run("{ projects { totalCount nodes { id name entity lastActivityAt callCount } } }")
    node = {"id": "acme/my chat", "name": "my chat", "entity": "acme", "lastActivityAt": None, "callCount": 0}
    assert listed.data == {"projects": {"totalCount": 1, "nodes": [node]}}


@pytest.mark.parametrize(
    ("entity", "project", "argument"),
    [
        ("a/b", "chat", "entity"),
        ("", "chat", "entity"),
        ("acme ", "chat", "entity"),
        ("x" * 1000, "chat", "entity"),
        ("acme", "a:b", "project"),
        ("acme", " ", "project"),
        ("acme", "ы" * 1000, "project"),
        ("acme", "a\x00", "project"),
        ("acme", "..", "project"),
        (".", "chat", "entity"),
        ("acme", "\N{ZERO WIDTH SPACE}", "project"),
    ],
)
async def test_invalid_project_name_is_refused(run: Run, entity: str, project: str, argument: str) -> None:
    answer = await run(ENSURE, entity=entity, project=project)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == argument
    assert answer.errors[0]["message"].startswith(f"{argument}: ")


@pytest.mark.usefixtures("chat")
async def test_project_has_everything_stored_in_it(run: Run) -> None:
    answer = await run(EVERYTHING)

    [node] = answer.data["projects"]["nodes"]
    assert node.pop("createdAt") <= node.pop("lastActivityAt")
    assert node == {
        "id": PROJECT,
        "entity": "acme",
        "name": "chat",
        "callCount": 2,
        "objectCount": 1,
        "feedbackCount": 0,
        "stats": {
            "traceStorageSizeBytes": 20,
            "objectsStorageSizeBytes": 13,
            "tablesStorageSizeBytes": 16,
            "filesStorageSizeBytes": 5,
        },
    }
    alone = await run(STATS, project=PROJECT)
    assert alone.data["projectStats"] == node["stats"]


async def test_missing_project_is_null_and_costs_nothing(run: Run) -> None:
    answer = await run(STATS, project="acme/none")
    assert set(answer.data["projectStats"].values()) == {0}

    answer = await run('{ project(projectId: "acme/none") { id } }')
    assert (answer.data, answer.errors) == ({"project": None}, [])


@pytest.mark.parametrize("bad", ["acme", "a/b/c", "a/b:c", "/", "x" * 1000, "é/\x01"])
async def test_invalid_project_id_is_refused(run: Run, bad: str) -> None:
    for document in (STATS, "query ($project: ID!) { project(projectId: $project) { id } }"):
        answer = await run(document, project=bad)
        assert answer.code == "BAD_USER_INPUT"
        assert answer.errors[0]["extensions"]["argument"] == "projectId"


@pytest.mark.usefixtures("chat")
async def test_unselected_fields_are_not_computed(run: Run, commands: Commands) -> None:
    async def commands_of(document: str) -> list[Any]:
        commands.sent.clear()
        assert not (await run(document)).errors
        return [body[name] for name, body in commands.sent]

    stats = f'projectStats(projectId: "{PROJECT}")'
    assert await commands_of(f"{{ {stats} {{ filesStorageSizeBytes }} }}") == ["files.files"]
    assert await commands_of(f"{{ {stats} {{ __typename }} }}") == []
    assert await commands_of("{ projects { totalCount } }") == ["projects", "projects"]
    assert commands.sent[0][1]["limit"] == 1
    assert await commands_of("{ projects { nodes { id } } }") == ["projects"]
    assert await commands_of("{ projects { nodes { callCount } } }") == ["projects", "hour_marks", "calls"]
    assert await commands_of("{ projects { nodes { stats { tablesStorageSizeBytes } } } }") == [
        "projects",
        "table_rows",
    ]


async def test_command_count_does_not_depend_on_page_size(run: Run, calls: CallsStore, commands: Commands) -> None:
    await calls.write([start(number, project_id=f"acme/p{number:02}") for number in range(60)])

    async def ask(first: int) -> tuple[list[Any], Counter[str]]:
        commands.sent.clear()
        answer = await run(EVERYTHING, first=first)
        assert not answer.errors
        return answer.data["projects"]["nodes"], Counter(commands.names)

    _, few = await ask(2)
    _, many = await ask(25)
    nodes, very_many = await ask(60)

    assert [node["callCount"] for node in nodes] == [1] * 60
    assert [node["stats"]["traceStorageSizeBytes"] for node in nodes] == [4] * 60
    assert few == many == {"find": 1 + 2, "aggregate": 1 + 7}
    assert very_many == {"find": 1 + 3 * 2, "aggregate": 1 + 3 * 7}  # a command counts at most 25 projects


class Slow(ProjectsStore):
    """A store whose counts and sizes always time out."""

    async def _never(self, *_: object, **__: object) -> NoReturn:
        raise StoreTimeoutError("narrow the filter")

    count_calls = count_objects = count_feedback = sizes = _never


@pytest.mark.parametrize("field", ["callCount", "objectCount", "feedbackCount", f"stats {{ {SIZES} }}"])
async def test_timed_out_count_is_an_error_at_its_field(
    schema: LoomSchema, database: Database, calls: CallsStore, field: str
) -> None:
    await calls.write([start(number, project_id=f"acme/p{number}") for number in range(3)])
    stores = Stores(database)
    stores.projects = Slow(database)
    context = Context(stores)

    result = await schema.execute(f"{{ projects {{ nodes {{ {field} }} }} }}", context_value=context)

    [error] = list(result.errors or ())
    name = field.partition(" ")[0]
    assert error.extensions == {"code": "TIMEOUT"}
    assert error.path == ["projects", "nodes", 0, name]
    assert f"did not compute {name} in time; ask for fewer projects per request (first)" in error.message


async def test_slow_project_sizes_error_suggests_fewer_fields(schema: LoomSchema, database: Database) -> None:
    stores = Stores(database)
    stores.projects = Slow(database)
    context = Context(stores)

    result = await schema.execute(STATS, variable_values={"project": PROJECT}, context_value=context)

    [error] = list(result.errors or ())
    assert error.extensions == {"code": "TIMEOUT"}
    assert "did not compute projectStats in time; select fewer of the four sizes per request" in error.message


async def test_projects_are_paged_sorted_and_filtered(run: Run, calls: CallsStore) -> None:
    for number, project in enumerate(("b/chat", "a/chat", "a/other")):
        await calls.write([start(number, project_id=project)])
    await run(ENSURE, entity="a", project="charts")
    document = """
    query ($filter: ProjectsFilter, $sort: [SortBy!], $after: String) {
      projects(filter: $filter, sortBy: $sort, first: 2, after: $after) {
        totalCount nodes { id } pageInfo { hasNextPage endCursor }
      }
    }
    """
    newest = [{"field": "lastActivityAt", "direction": "DESC"}]

    first = await run(document, sort=newest)
    page = first.data["projects"]
    assert [node["id"] for node in page["nodes"]] == ["a/other", "a/chat"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (4, True)
    second = await run(document, sort=newest, after=page["pageInfo"]["endCursor"])
    assert [node["id"] for node in second.data["projects"]["nodes"]] == ["b/chat", "a/charts"]
    some = await run(document, filter={"entity": "a", "namePrefix": "cha"})
    assert [node["id"] for node in some.data["projects"]["nodes"]] == ["a/charts", "a/chat"]
    assert some.data["projects"]["totalCount"] == 2


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ('filter: {entity: "a/b"}', "filter.entity"),
        ('filter: {namePrefix: "a:"}', "filter.namePrefix"),
        ('sortBy: [{field: "bytes", direction: ASC}]', "sortBy.0.field"),
        ("first: -1", "first"),
        ("first: 10001", "first"),
        ('after: "x"', "after"),
    ],
)
async def test_invalid_query_names_its_argument(run: Run, arguments: str, argument: str) -> None:
    answer = await run(f"{{ projects({arguments}) {{ nodes {{ id }} }} }}")

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == argument


LISTS = """
query ($project: ID!, $where: QueryInput, $sort: [SortBy!]) {
  project(projectId: $project) {
    calls(filter: {opNames: ["work"]}, query: $where, sortBy: $sort, first: 2) {
      totalCount pageInfo { hasNextPage endCursor } nodes { id feedback { nodes { feedbackType } } }
    }
    threads { nodes { threadId turnCount } }
    objs(filter: {isOp: false}) { nodes { objectId digest } }
    ops { nodes { objectId } }
    feedback { totalCount nodes { feedbackType } }
    costs { nodes { llmId } }
  }
}
"""


async def test_project_returns_its_entities(
    run: Run, calls: CallsStore, objects: ObjectsStore, database: Database
) -> None:
    turn = {"thread_id": "talk", "turn_id": call_id(1)}
    await calls.write([start(number, op_name="work", **(turn if number == 1 else {})) for number in range(1, 5)])
    await calls.write([start(9, op_name="other"), start(8, project_id="acme/else", op_name="work"), end(1)])
    await objects.create(version({"x": 1}))
    await FeedbackStore(database).create([note()])
    await CostsStore(database).create(PROJECT, [NewCost("loom-large", 1e-6, 1e-6)])
    order = [{"field": "id", "direction": "DESC"}]

    answer = await run(LISTS, project=PROJECT, sort=order)

    assert answer.errors == []
    found = answer.data["project"]
    assert [each["id"] for each in found["calls"]["nodes"]] == [call_id(4), call_id(3)]
    assert (found["calls"]["totalCount"], found["calls"]["pageInfo"]["hasNextPage"]) == (4, True)
    assert found["threads"]["nodes"] == [{"threadId": "talk", "turnCount": 1}]
    assert [each["objectId"] for each in found["objs"]["nodes"]] == ["prompt"]
    assert found["ops"]["nodes"] == []
    assert found["feedback"]["totalCount"] == 1
    assert found["costs"]["nodes"] == [{"llmId": "loom-large"}]


async def test_project_lists_equal_the_root_lists(run: Run, calls: CallsStore) -> None:
    await calls.write([start(number) for number in range(1, 6)])
    page = "pageInfo { hasNextPage endCursor } edges { cursor node { id ref } }"
    variables = {"project": PROJECT, "after": None}
    for _ in range(3):
        within = await run(
            "query ($project: ID!, $after: String) { project(projectId: $project) { calls(first: 2, after: $after) { "
            f"{page} }} }} }}",
            **variables,
        )
        alone = await run(
            "query ($project: ID!, $after: String) { calls(projectId: $project, first: 2, after: $after) { "
            f"{page} }} }}",
            **variables,
        )
        assert within.data["project"]["calls"] == alone.data["calls"]
        variables["after"] = alone.data["calls"]["pageInfo"]["endCursor"]
    assert not alone.data["calls"]["pageInfo"]["hasNextPage"]


async def test_each_project_of_a_page_has_its_own_lists(run: Run, calls: CallsStore, commands: Commands) -> None:
    projects = [f"acme/{name}" for name in "abc"]
    for number, project in enumerate(projects, 1):
        await calls.write([start(n, project_id=project) for n in range(number)])

    async def count_commands(first: int) -> int:
        commands.sent.clear()
        answer = await run(
            "query ($first: Int) { projects(first: $first) { nodes { id calls(first: 5) { nodes { projectId parent "
            "{ id } } } } } }",
            first=first,
        )
        nodes = answer.data["projects"]["nodes"]
        assert [[call["projectId"] for call in node["calls"]["nodes"]] for node in nodes] == [
            [project] * number for number, project in enumerate(projects[:first], 1)
        ]
        return len(commands.sent)

    # No command reads across projects: one lists the projects, then each project needs one.
    assert [await count_commands(first) for first in (1, 3)] == [2, 4]


async def test_error_in_a_project_list_names_its_argument(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1)])

    answer = await run("query ($project: ID!) { project(projectId: $project) { calls(first: -1) { nodes { id } } } }",
                       project=PROJECT)  # fmt: skip

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == "first"
    assert answer.errors[0]["path"] == ["project", "calls"]


async def test_project_lists_are_counted_in_the_cost(database: Database) -> None:
    run = running(build_schema(Limits(max_cost=250_000)), Context(Stores(database)))

    answer = await run("{ projects(first: 100) { nodes { calls(first: 10000) { nodes { id } } } } }")

    assert answer.code == "QUERY_TOO_COMPLEX"
    assert "The most is projects.nodes.calls.nodes, with 1,000,000" in answer.errors[0]["message"]


@pytest.mark.parametrize(
    ("caller", "chat", "rival"),
    [
        (NOBODY, "NONE", "NONE"),
        (Caller("reader", (Grant("acme/chat", Role.READER),)), "READER", "NONE"),
        (Caller("writer", (Grant("acme/*", Role.WRITER), Grant("acme/chat", Role.READER))), "WRITER", "NONE"),
        (Caller("oidc:ann", (Grant("acme/chat", Role.ADMIN), Grant("*", Role.READER))), "ADMIN", "READER"),
        (ANONYMOUS_WRITER, "WRITER", "WRITER"),
        (ANONYMOUS_ADMIN, "ADMIN", "ADMIN"),
    ],
)
async def test_role_of_the_caller_costs_no_command(
    database: Database, commands: Commands, caller: Caller, chat: str, rival: str
) -> None:
    schema, context = build_schema(Limits()), Context(Stores(database), caller=caller)

    answer = await schema.execute(
        '{ chat: role(projectId: "acme/chat") rival: role(projectId: "rival/chat") }', {}, context
    )

    assert (answer.errors, answer.data) == (None, {"chat": chat, "rival": rival})
    assert commands.sent == []
