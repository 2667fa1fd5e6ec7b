"""Traces in the API: roots, calls as a tree, totals, and defective traces."""

from typing import Any

from stores.calls import CallEnd, CallsStore, CallStart
from stores.costs import CostsStore, NewCost
from stores.times import to_text
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

TREE = """
query ($project: ID!, $trace: ID!, $first: Int, $after: String, $last: Int, $before: String, $depth: Int) {
  trace(projectId: $project, traceId: $trace) {
    root { id }
    roots { totalCount nodes { id } }
    tree(first: $first, after: $after, last: $last, before: $before, maxDepth: $depth) {
      totalCount
      nodes { depth parentId numChildren numDescendants call { id output } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
"""
IDS = """
query ($project: ID!, $trace: ID!) {
  trace(projectId: $project, traceId: $trace) {
    root { id } roots { nodes { id } } tree { nodes { depth call { id } } }
  }
}
"""
TOTALS = """
query ($project: ID!, $trace: ID!) {
  trace(projectId: $project, traceId: $trace) {
    totals { numCalls numErrors numRunning startedAt endedAt durationMs usage { totalTokens cost models { model } } }
  }
}
"""


def call(number: int, parent: int | None = None, **changes: Any) -> CallStart:
    """Return the start of a call in the only trace."""
    above = None if parent is None else call_id(parent)
    return start(number, trace_id=trace_id(0), parent_id=above, **changes)


def numbers(nodes: list[dict[str, Any]]) -> list[int]:
    return [int((node.get("call") or node)["id"][-12:], 16) for node in nodes]


async def read(run: Run, document: str = TREE, **variables: Any) -> Any:
    answer = await run(document, **{"project": PROJECT, "trace": trace_id(0)} | variables)
    assert answer.errors == []
    return answer.data["trace"]


async def test_tree_is_in_display_order(run: Run, calls: CallsStore) -> None:
    parents = [None, 0, 0, 1, 2, 1, 3]
    await calls.write([call(number, parent) for number, parent in enumerate(parents)])
    await calls.write([end(6, output="six")])

    trace = await read(run)

    nodes = trace["tree"]["nodes"]
    assert numbers(nodes) == [0, 1, 3, 6, 5, 2, 4]
    assert [node["depth"] for node in nodes] == [0, 1, 2, 3, 2, 1, 2]
    assert [node["numChildren"] for node in nodes] == [2, 2, 1, 0, 0, 1, 0]
    assert [node["numDescendants"] for node in nodes] == [6, 3, 1, 0, 0, 1, 0]
    assert [node["parentId"] for node in nodes][:3] == [None, call_id(0), call_id(1)]
    assert nodes[3]["call"]["output"] == "six"
    assert (trace["root"]["id"], trace["roots"], trace["tree"]["totalCount"]) == (
        call_id(0),
        {"totalCount": 1, "nodes": [{"id": call_id(0)}]},
        7,
    )
    assert trace["tree"]["pageInfo"]["hasNextPage"] is False


async def test_tree_is_paged_both_ways_and_limited_in_depth(run: Run, calls: CallsStore) -> None:
    parents = [None, 0, 0, 1, 2, 1, 3]
    await calls.write([call(number, parent) for number, parent in enumerate(parents)])

    first = (await read(run, first=3))["tree"]
    second = (await read(run, first=3, after=first["pageInfo"]["endCursor"]))["tree"]
    back = (await read(run, last=2, before=second["pageInfo"]["startCursor"]))["tree"]
    shallow = (await read(run, depth=1))["tree"]

    assert (numbers(first["nodes"]), numbers(second["nodes"])) == ([0, 1, 3], [6, 5, 2])
    assert [first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasPreviousPage"]] == [True, True]
    assert (numbers(back["nodes"]), back["pageInfo"]["hasPreviousPage"]) == ([1, 3], True)
    assert (numbers(shallow["nodes"]), shallow["totalCount"]) == ([0, 1, 2], 3)
    assert [node["numDescendants"] for node in shallow["nodes"]] == [6, 3, 1]


async def test_cursor_remains_valid_if_the_tree_grows_or_its_call_is_deleted(run: Run, calls: CallsStore) -> None:
    await calls.write([call(0), *(call(number, 0) for number in (2, 4, 6, 8))])
    cursor = (await read(run, first=3))["tree"]["pageInfo"]["endCursor"]

    await calls.write([call(1, 0)])
    grown = (await read(run, first=9, after=cursor))["tree"]
    await calls.delete(PROJECT, [call_id(4), call_id(1)])
    shrunk = (await read(run, first=9, after=cursor))["tree"]

    assert numbers(grown["nodes"]) == [6, 8]
    assert numbers(shrunk["nodes"]) == [6, 8]


async def test_cursor_of_another_tree_is_refused(run: Run, calls: CallsStore) -> None:
    await calls.write([call(0), call(1, 0), start(9)])
    cursor = (await read(run, first=1))["tree"]["pageInfo"]["endCursor"]

    other = await run(TREE, project=PROJECT, trace=trace_id(9), first=1, after=cursor)
    negative = await run(TREE, project=PROJECT, trace=trace_id(0), depth=-1)

    assert (other.code, other.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "after")
    assert (negative.code, negative.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "maxDepth")


async def test_trace_without_a_root_has_roots(run: Run, calls: CallsStore) -> None:
    await calls.write([call(1, 9), call(2, 1), call(3, 8)])

    trace = await read(run, IDS)

    assert trace["root"] is None
    assert numbers(trace["roots"]["nodes"]) == [1, 3]
    assert [(node["depth"], *numbers([node])) for node in trace["tree"]["nodes"]] == [(0, 1), (1, 2), (0, 3)]


async def test_circular_parents_terminate(run: Run, calls: CallsStore) -> None:
    await calls.write([call(1, 3), call(2, 1), call(3, 2), call(4, 4), call(5)])

    trace = await read(run, IDS)

    assert numbers([trace["root"]]) == [5]
    assert numbers(trace["roots"]["nodes"]) == [1, 4, 5]
    assert numbers(trace["tree"]["nodes"]) == [1, 2, 3, 4, 5]
    walk = "call(projectId: $project, id: $id) { id parent { id parent { id parent { id parent { id } } } } }"
    answer = await run(f"query ($project: ID!, $id: ID!) {{ {walk} }}", project=PROJECT, id=call_id(1))
    assert answer.data["call"]["parent"]["parent"]["parent"]["parent"]["id"] == call_id(3)


async def test_deleted_calls_and_those_of_another_project_are_in_no_trace(run: Run, calls: CallsStore) -> None:
    await calls.write([call(0), call(1, 0), call(2, 1), call(3, 0, project_id="acme/other")])
    await calls.delete(PROJECT, [call_id(1)])

    trace = await read(run, IDS)

    assert numbers(trace["tree"]["nodes"]) == [0]
    assert (await read(run, TOTALS))["totals"]["numCalls"] == 1
    await calls.delete(PROJECT, [call_id(0)])
    assert await read(run, IDS) is None
    assert await read(run, IDS, project="acme/none") is None


async def test_invalid_trace_id_is_reported(run: Run) -> None:
    answer = await run(IDS, project=PROJECT, trace="x")

    assert (answer.code, answer.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "traceId")


async def test_totals_count_the_own_usage_of_each_call_once(run: Run, calls: CallsStore) -> None:
    used = {"usage": {"gpt-4o": {"prompt_tokens": 10, "completion_tokens": 5}}}
    await calls.write([call(0), call(1, 0), call(2, 0), call(3, 0)])
    await calls.write([end(1, summary=used), end(2, summary=used, exception="no")])
    await calls.write([end(0, summary={"usage": {"gpt-4o": {"prompt_tokens": 20, "completion_tokens": 10}}})])

    totals = (await read(run, TOTALS))["totals"]

    cost = totals["usage"].pop("cost")
    assert 0 < cost < 1
    assert totals == {
        "numCalls": 4,
        "numErrors": 1,
        "numRunning": 1,
        "startedAt": to_text(NOON),
        "endedAt": to_text(NOON + 2 * SECOND + SECOND // 2),
        "durationMs": 2500,
        "usage": {"totalTokens": 30, "models": [{"model": "gpt-4o"}]},
    }


async def test_totals_equal_the_usage_tree_of_the_roots(run: Run, calls: CallsStore) -> None:
    used = {"usage": {"m": {"prompt_tokens": 7}, "n": {"completion_tokens": 2}}}
    await calls.write([call(0), call(1, 0), call(2, 1), call(5, 9)])
    await calls.write([end(number, summary=used) for number in (0, 1, 2, 5)])

    answer = await run(
        """query ($project: ID!, $trace: ID!) {
          usageTree(projectId: $project, traceId: $trace, maxDepth: 0) { totalUsage { totalTokens } }
          trace(projectId: $project, traceId: $trace) { totals { usage { totalTokens } } }
        }""",
        project=PROJECT,
        trace=trace_id(0),
    )

    of_roots = [node["totalUsage"]["totalTokens"] for node in answer.data["usageTree"]]
    assert len(of_roots) == 2
    assert answer.data["trace"]["totals"]["usage"]["totalTokens"] == sum(of_roots) > 0


async def test_trace_of_ten_thousand_calls_is_complete(run: Run, calls: CallsStore, commands: Commands) -> None:
    parts: list[CallStart | CallEnd] = [call(n, (n - 1) // 3 if n else None) for n in range(10_000)]
    for first in range(0, len(parts), 2_000):
        await calls.write(parts[first : first + 2_000])
    commands.sent.clear()

    tree = (
        await read(
            run,
            "query ($project: ID!, $trace: ID!) { trace(projectId: $project, traceId: $trace) "
            "{ tree(first: 10000) { nodes { depth call { id opName } } } } }",
        )
    )["tree"]

    assert sorted(numbers(tree["nodes"])) == list(range(10_000))
    depths = dict(zip(numbers(tree["nodes"]), (node["depth"] for node in tree["nodes"]), strict=True))
    assert all(depths[n] == depths[(n - 1) // 3] + 1 for n in range(1, 10_000))
    assert [name for name in commands.names if name != "getMore"] == ["distinct", "find", "find"]


async def test_command_count_does_not_depend_on_page_size(run: Run, calls: CallsStore, commands: Commands) -> None:
    for number in range(30):
        await calls.write([start(number), start(1_000 + number, trace_id=trace_id(number), parent_id=call_id(number))])
    document = """
    query ($project: ID!, $first: Int) {
      calls(projectId: $project, filter: {traceRootsOnly: true}, first: $first) {
        nodes { trace { root { id } calls { nodes { id } } tree { nodes { depth call { id } } } totals { numCalls
          usage { totalTokens } } } }
      }
    }
    """

    async def sent(first: int) -> list[str]:
        commands.sent.clear()
        answer = await run(document, project=PROJECT, first=first)
        assert [node["trace"]["totals"]["numCalls"] for node in answer.data["calls"]["nodes"]] == [2] * first
        assert [len(node["trace"]["tree"]["nodes"]) for node in answer.data["calls"]["nodes"]] == [2] * first
        return sorted(commands.names)

    assert await sent(2) == await sent(30) == await sent(30)


OF_ROOTS = """
query ($project: ID!, $first: Int) {
  calls(projectId: $project, first: $first) { nodes { id totalCost traceCost traceTokens traceErrors traceCalls } }
}
"""


async def test_root_counts_each_call_of_its_trace_once_from_any_writer(run: Run, calls: CallsStore) -> None:
    await CostsStore(calls.database).create(PROJECT, [NewCost("m", 0.5, 0.0, effective_date=0)])
    used = {"usage": {"m": {"prompt_tokens": 4}}}
    sums_up = used | {"status_counts": {"success": 1, "error": 1}}
    of_one = used | {"status_counts": {"error": 1}}
    for root, summary in ((0, sums_up), (2, {})):
        below = start(root + 1, trace_id=trace_id(root), parent_id=call_id(root))
        await calls.write([start(root, trace_id=trace_id(root)), below, end(root, summary=summary)])
        await calls.write([end(root + 1, summary=of_one, exception="it broke")])
    await calls.write([start(4)])

    nodes = (await run(OF_ROOTS, project=PROJECT)).data["calls"]["nodes"]

    names = ("totalCost", "traceCost", "traceTokens", "traceErrors", "traceCalls")
    assert [tuple(node[name] for name in names) for node in nodes] == [
        (2.0, 2.0, 4, 1, 2),
        (2.0, None, None, None, None),
        (None, 2.0, 4, 1, 2),
        (2.0, None, None, None, None),
        (None, None, 0, 0, 1),
    ]


async def test_command_count_of_root_totals_does_not_depend_on_page_size(
    run: Run, calls: CallsStore, commands: Commands
) -> None:
    used = {"usage": {"m": {"prompt_tokens": 4}}}
    for number in range(30):
        await calls.write([start(number), end(number, summary=used)])

    async def sent(first: int) -> list[str]:
        commands.sent.clear()
        answer = await run(OF_ROOTS, project=PROJECT, first=first)
        assert [node["traceTokens"] for node in answer.data["calls"]["nodes"]] == [4] * first
        return sorted(commands.names)

    assert await sent(2) == await sent(30)
    commands.sent.clear()
    answer = await run('{ calls(projectId: "acme/chat") { nodes { traceErrors traceCalls } } }')
    assert answer.data["calls"]["nodes"] == [{"traceErrors": 0, "traceCalls": 1}] * 30
    assert len(commands.names) == 2
