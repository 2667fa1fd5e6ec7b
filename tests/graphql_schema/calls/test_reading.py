"""Reads of calls: the values of each field, and pages of lists."""

import pytest

from stores.calls import CallsStore
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id


async def test_finished_call_is_read_as_written(run: Run, calls: CallsStore) -> None:
    await calls.write(
        [
            start(
                1,
                op_name="weave:///acme/chat/op/answer:abc",
                thread_id="t",
                turn_id=call_id(1),
                wb_run_id="acme/chat/run",
                wb_run_step=3,
                inputs={"messages": [{"content": "hi"}]},
                attributes={"env": {"name": "prod"}},
            ),
            end(
                1,
                output={"text": "ho"},
                summary={"usage": {"m": {"prompt_tokens": 3, "requests": 1}}},
                wb_run_step_end=4,
            ),
        ]
    )

    answer = await run(
        """
        query ($project: ID!, $id: ID!) {
            call(projectId: $project, id: $id) {
                id projectId opName displayName traceId parentId threadId turnId startedAt endedAt exception
                wbUserId wbRunId wbRunStep wbRunStepEnd deletedAt status latencyMs traceName
                usage { model promptTokens completionTokens requests } inputs attributes output summary
                storageSizeBytes totalStorageSizeBytes
            }
        }
        """,
        project=PROJECT,
        id=call_id(1),
    )

    size = len('{"env": {"name": "prod"}}' + '{"messages": [{"content": "hi"}]}' + '{"text": "ho"}')
    size += len('{"usage": {"m": {"prompt_tokens": 3, "requests": 1}}}')
    assert answer.data["call"] == {
        "id": call_id(1),
        "projectId": PROJECT,
        "opName": "weave:///acme/chat/op/answer:abc",
        "displayName": None,
        "traceId": trace_id(1),
        "parentId": None,
        "threadId": "t",
        "turnId": call_id(1),
        "startedAt": "2026-01-31T12:00:01.000000Z",
        "endedAt": "2026-01-31T12:00:01.500000Z",
        "exception": None,
        "wbUserId": "local",
        "wbRunId": "acme/chat/run",
        "wbRunStep": 3,
        "wbRunStepEnd": 4,
        "deletedAt": None,
        "status": "SUCCESS",
        "latencyMs": 500,
        "traceName": "answer",
        "usage": [{"model": "m", "promptTokens": 3, "completionTokens": None, "requests": 1}],
        "inputs": {"messages": [{"content": "hi"}]},
        "attributes": {"env": {"name": "prod"}},
        "output": {"text": "ho"},
        "summary": {
            "usage": {"m": {"prompt_tokens": 3, "requests": 1}},
            "weave": {"status": "success", "trace_name": "answer", "latency_ms": 500},
        },
        "storageSizeBytes": size,
        "totalStorageSizeBytes": size,
    }


async def test_running_call_has_no_end(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1, parent_id=call_id(9), display_name="mine")])

    answer = await run(
        f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") '
        "{ status endedAt latencyMs output traceName usage { model } summary storageSizeBytes totalStorageSizeBytes } }"
    )

    assert answer.data["call"] == {
        "status": "RUNNING",
        "endedAt": None,
        "latencyMs": None,
        "output": None,
        "traceName": "mine",
        "usage": [],
        "summary": {"weave": {"status": "running", "display_name": "mine"}},
        "storageSizeBytes": 4,
        "totalStorageSizeBytes": None,
    }


@pytest.mark.parametrize(
    ("exception", "summary", "status"),
    [
        (None, {}, "SUCCESS"),
        ("", {}, "SUCCESS"),
        ("ValueError", {}, "ERROR"),
        (None, {"status_counts": {"error": 1, "success": 2}}, "DESCENDANT_ERROR"),
        ("ValueError", {"status_counts": {"error": 1}}, "ERROR"),
        (None, {"status_counts": {"error": 0}}, "SUCCESS"),
        (None, {"status_counts": "odd", "usage": ["odd"]}, "SUCCESS"),
    ],
)
async def test_status_reflects_the_outcome(
    run: Run, calls: CallsStore, exception: str | None, summary: dict[str, object], status: str
) -> None:
    await calls.write([start(1), end(1, exception=exception, summary=summary)])

    answer = await run(f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ status usage {{ model }} summary }} }}')

    assert answer.data["call"]["status"] == status
    assert answer.data["call"]["usage"] == []
    assert answer.data["call"]["summary"]["weave"]["status"] == status.lower()


async def test_keys_written_under_weave_are_kept(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1), end(1, summary={"weave": {"mine": 1, "status": "odd"}, "last": 2})])

    answer = await run(f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ summary }} }}')

    assert answer.data["call"]["summary"] == {
        "weave": {"mine": 1, "status": "success", "trace_name": "answer", "latency_ms": 500},
        "last": 2,
    }


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("messages.0.content", "hi"),
        ("messages.1", None),
        ("messages.-1", None),
        ("messages.content", None),
        (r"a\.b", 1),
        ("0", "key"),
        ("big", 2**70),
        ("no", None),
        ("", {"messages": [{"content": "hi"}], "a.b": 1, "0": "key", "big": 2**70, "no": None}),
    ],
)
async def test_json_field_accepts_a_path(run: Run, calls: CallsStore, path: str, found: object) -> None:
    inputs = {"messages": [{"content": "hi"}], "a.b": 1, "0": "key", "big": 2**70, "no": None}
    await calls.write([start(1, inputs=inputs)])

    answer = await run(
        "query ($project: ID!, $id: ID!, $path: String) { call(projectId: $project, id: $id) { inputs(path: $path) } }",
        project=PROJECT,
        id=call_id(1),
        path=path,
    )

    assert answer.data["call"]["inputs"] == found


async def test_path_with_an_empty_key_is_refused(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1)])

    answer = await run(f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ id inputs(path: "a..b") }} }}')

    assert answer.data == {"call": {"id": call_id(1), "inputs": None}}
    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "path"}


@pytest.mark.parametrize("project", ["nobody/nothing", "acme/other"])
async def test_unknown_project_returns_an_empty_list(run: Run, calls: CallsStore, project: str) -> None:
    await calls.write([start(1)])

    answer = await run(
        "query ($project: ID!, $id: ID!) { call(projectId: $project, id: $id) { id } callsStats(projectId: $project) "
        "{ count totalStorageSizeBytes } calls(projectId: $project) "
        "{ totalCount nodes { id } pageInfo { endCursor } } }",
        project=project,
        id=call_id(1),
    )

    assert answer.errors == []
    assert answer.data == {
        "call": None,
        "callsStats": {"count": 0, "totalStorageSizeBytes": 0},
        "calls": {"totalCount": 0, "nodes": [], "pageInfo": {"endCursor": None}},
    }


async def test_pages_go_forward_and_backward_by_cursor(run: Run, calls: CallsStore) -> None:
    await calls.write([start(number) for number in range(10)])
    document = """
        query ($project: ID!, $first: Int, $after: String, $last: Int, $before: String) {
            calls(projectId: $project, first: $first, after: $after, last: $last, before: $before,
                  sortBy: [{field: "started_at", direction: DESC}]) {
                edges { cursor node { id } }
                pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
            }
        }
    """

    async def page(**arguments: object) -> tuple[list[str], dict[str, object]]:
        listing = (await run(document, project=PROJECT, **arguments)).data["calls"]
        edges, info = listing["edges"], listing["pageInfo"]
        assert [info["startCursor"], info["endCursor"]] == [edges[0]["cursor"], edges[-1]["cursor"]]
        return [edge["node"]["id"] for edge in edges], info

    front, front_info = await page(first=4)
    rest, rest_info = await page(first=4, after=front_info["endCursor"])
    back, back_info = await page(last=4, before=rest_info["startCursor"])
    tail, tail_info = await page(last=3)

    assert front == [call_id(number) for number in (9, 8, 7, 6)]
    assert rest == [call_id(number) for number in (5, 4, 3, 2)]
    assert back == front
    assert tail == [call_id(number) for number in (2, 1, 0)]
    assert [front_info["hasPreviousPage"], front_info["hasNextPage"]] == [False, True]
    assert [rest_info["hasPreviousPage"], rest_info["hasNextPage"]] == [True, True]
    assert [back_info["hasPreviousPage"], back_info["hasNextPage"]] == [False, True]
    assert [tail_info["hasPreviousPage"], tail_info["hasNextPage"]] == [True, False]


async def test_cursor_of_another_query_or_forged_is_refused(run: Run, calls: CallsStore) -> None:
    await calls.write([start(number) for number in range(3)])
    first = await run(f'{{ calls(projectId: "{PROJECT}", first: 1) {{ pageInfo {{ endCursor }} }} }}')
    cursor: str = first.data["calls"]["pageInfo"]["endCursor"]
    document = (
        "query ($after: String, $sort: [SortBy!], $filter: CallsFilter, $project: ID!) { "
        "calls(projectId: $project, after: $after, sortBy: $sort, filter: $filter) { nodes { id } } }"
    )

    same = await run(document, after=cursor, project=PROJECT)
    others = [
        await run(document, after=cursor, project="acme/other"),
        await run(document, after=cursor, project=PROJECT, sort=[{"field": "op_name", "direction": "ASC"}]),
        await run(document, after=cursor, project=PROJECT, filter={"traceRootsOnly": True}),
        await run(document, after=cursor[:-8] + "BBBB" + cursor[-4:], project=PROJECT),
        await run(document, after="", project=PROJECT),
        await run(document, after="ø", project=PROJECT),
    ]

    assert [node["id"] for node in same.data["calls"]["nodes"]] == [call_id(1), call_id(2)]
    assert [other.code for other in others] == ["BAD_USER_INPUT"] * len(others)
    assert {other.errors[0]["extensions"]["argument"] for other in others} == {"after"}


@pytest.mark.parametrize(
    ("arguments", "argument", "reason"),
    [
        ("first: -1", "first", "-1 is negative"),
        ("first: 10001", "first", "10,001 exceeds the limit of 10,000"),
        ("last: -1", "last", "-1 is negative"),
        ("last: 10001", "last", "10,001 exceeds the limit of 10,000"),
        ("offset: -1", "offset", "-1 is negative"),
        ("first: 1, last: 1", "first", "pages forward"),
        ("last: 1, offset: 1", "offset", "counts from the start"),
    ],
)
async def test_invalid_page_arguments_are_refused(run: Run, arguments: str, argument: str, reason: str) -> None:
    answer = await run(f'{{ calls(projectId: "{PROJECT}", {arguments}) {{ nodes {{ id }} }} }}')

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert reason in answer.errors[0]["message"]


async def test_page_of_zero_rows_has_a_next_page(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1)])

    answer = await run(
        f'{{ calls(projectId: "{PROJECT}", first: 0) {{ totalCount nodes {{ id }} pageInfo {{ hasNextPage }} }} }}'
    )

    assert answer.data["calls"] == {"totalCount": 1, "nodes": [], "pageInfo": {"hasNextPage": True}}


async def test_stats_count_to_the_limit_and_sum_trace_sizes_of_roots(run: Run, calls: CallsStore) -> None:
    child = {"trace_id": trace_id(1), "parent_id": call_id(1), "inputs": {"x": 1}}
    await calls.write([start(1), start(2, **child), start(3)])

    answer = await run(
        f"""{{
            all: callsStats(projectId: "{PROJECT}") {{ count totalStorageSizeBytes }}
            two: callsStats(projectId: "{PROJECT}", limit: 2) {{ count }}
            none: callsStats(projectId: "{PROJECT}", limit: 0) {{ count totalStorageSizeBytes }}
            roots: callsStats(projectId: "{PROJECT}", filter: {{traceRootsOnly: true}}) {{
                count totalStorageSizeBytes
            }}
            children: callsStats(projectId: "{PROJECT}", filter: {{parentIds: ["{call_id(1)}"]}}) {{
                count totalStorageSizeBytes
            }}
        }}"""
    )

    assert answer.data == {
        "all": {"count": 3, "totalStorageSizeBytes": 4 + 10 + 4},
        "two": {"count": 2},
        "none": {"count": 0, "totalStorageSizeBytes": 0},
        "roots": {"count": 2, "totalStorageSizeBytes": 4 + 10 + 4},
        "children": {"count": 1, "totalStorageSizeBytes": 0},
    }


async def test_negative_limit_is_refused(run: Run) -> None:
    answer = await run(f'{{ callsStats(projectId: "{PROJECT}", limit: -1) {{ count }} }}')

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "limit"}


async def test_malformed_project_is_refused_with_the_rule(run: Run) -> None:
    answer = await run('{ calls(projectId: "acme") { nodes { id } } }')

    assert answer.code == "BAD_USER_INPUT"
    assert "write entity/project" in answer.errors[0]["message"]


async def test_filter_is_passed_to_the_store_completely(run: Run, calls: CallsStore) -> None:
    ref = "weave:///acme/chat/object/prompt:abc"
    await calls.write(
        [
            start(
                1,
                op_name="weave:///acme/chat/op/f:v",
                parent_id=call_id(9),
                thread_id="t",
                turn_id=call_id(1),
                wb_user_id="ann",
                wb_run_id="acme/chat/r",
                inputs={"prompt": ref},
            ),
            end(1, output=[ref]),
            start(2),
            start(3, started_at=NOON - SECOND),
        ]
    )
    matching = {
        "opNames": ["weave:///acme/chat/op/f:*"],
        "inputRefs": [ref],
        "outputRefs": [ref],
        "parentIds": [call_id(9)],
        "traceIds": [trace_id(1)],
        "callIds": [call_id(1)],
        "threadIds": ["t"],
        "turnIds": [call_id(1)],
        "wbUserIds": ["ann"],
        "wbRunIds": ["acme/chat/r"],
    }
    document = 'query ($filter: CallsFilter) { calls(projectId: "acme/chat", filter: $filter) { nodes { id } } }'

    for name, members in matching.items():
        answer = await run(document, filter={name: members})
        assert [node["id"] for node in answer.data["calls"]["nodes"]] == [call_id(1)], name
    together = await run(document, filter={**matching, "traceRootsOnly": False})
    roots = await run(document, filter={"traceRootsOnly": True, "opNames": [], "threadIds": None})

    assert [node["id"] for node in together.data["calls"]["nodes"]] == [call_id(1)]
    assert [node["id"] for node in roots.data["calls"]["nodes"]] == [call_id(3), call_id(2)]


async def test_filter_list_over_its_limit_is_named(run: Run) -> None:
    answer = await run(
        'query ($ids: [ID!]) { calls(projectId: "acme/chat", filter: {callIds: $ids}) { nodes { id } } }',
        ids=[call_id(number) for number in range(1001)],
    )

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.callIds"}
    assert "1,001 members; the limit is 1,000" in answer.errors[0]["message"]
