"""Only selected fields are read, whichever way a document selects them."""

import pytest

from stores.calls import CallsStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start

FRAGMENTS = """
    fragment slim on CallSchema { traceId ...again }
    fragment again on CallSchema { traceId @skip(if: true) }
"""


def projected(commands: Commands) -> set[str]:
    [projection] = [body["projection"] for name, body in commands.sent if name == "find" and body["find"] == "calls"]
    return {path for path, wanted in projection.items() if wanted}


@pytest.mark.parametrize(
    ("selection", "paths"),
    [
        ("nodes { opName }", {"op_name"}),
        ("edges { node { inputs } }", {"json.inputs"}),
        ("nodes { opName } edges { node { output } }", {"op_name", "json.output"}),
        ('nodes { first: inputs second: inputs(path: "a") }', {"json.inputs"}),
        ("nodes { ...slim }", {"trace_id"}),
        ("... on CallConnection { nodes { ... on CallSchema { threadId } } }", {"thread_id"}),
        ("nodes { opName @skip(if: true) exception @include(if: $yes) turnId @include(if: $no) }", {"exception"}),
        ("nodes @include(if: $no) { inputs } edges { cursor }", set()),
        ("nodes { usage { model } }", {"json.summary", "usage"}),
        ("totalCount pageInfo { hasNextPage }", set()),
    ],
)
async def test_page_reads_selected_fields_and_sort_keys(
    run: Run, commands: Commands, calls: CallsStore, selection: str, paths: set[str]
) -> None:
    await calls.write([start(1)])  # the server looks for hints if the page is empty
    commands.sent.clear()
    answer = await run(
        f"""
        query ($yes: Boolean = true, $no: Boolean = false) {{
            calls(projectId: "{PROJECT}") {{ __typename @skip(if: $yes) @include(if: $no) {selection} }}
        }}
        {FRAGMENTS if "...slim" in selection else ""}
        """
    )

    assert answer.errors == []
    assert projected(commands) == paths | {"started_at", "id"}


async def test_single_call_reads_selected_fields(run: Run, commands: Commands, calls: CallsStore) -> None:
    await calls.write([start(1), end(1)])

    await run(f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ status outcome: output }} }}')

    assert projected(commands) == {"id", "status", "json.output"}


async def test_page_is_one_command_and_its_count_another(run: Run, commands: Commands, calls: CallsStore) -> None:
    await calls.write([start(number) for number in range(300)])
    commands.sent.clear()

    slim = await run(f'{{ calls(projectId: "{PROJECT}", first: 300) {{ nodes {{ id }} }} }}')
    slim_commands = list(commands.names)
    counted = await run(f'{{ calls(projectId: "{PROJECT}", first: 1) {{ totalCount nodes {{ id }} }} }}')

    assert len(slim.data["calls"]["nodes"]) == 300
    assert slim_commands == ["find"]
    assert counted.data["calls"]["totalCount"] == 300
    assert sorted(commands.names) == ["aggregate", "aggregate", "find", "find"]  # one looks for roll-ups


async def test_count_alone_reads_no_rows(run: Run, commands: Commands, calls: CallsStore) -> None:
    await calls.write([start(number) for number in range(5)])
    commands.sent.clear()

    answer = await run(f'{{ calls(projectId: "{PROJECT}") {{ totalCount }} }}')

    assert answer.data["calls"]["totalCount"] == 5
    assert commands.sent[0][1]["limit"] == 1
    assert commands.names == ["find", "aggregate", "aggregate"]


async def test_trace_sizes_take_one_command_for_any_number_of_roots(
    run: Run, commands: Commands, calls: CallsStore
) -> None:
    await calls.write([start(number) for number in range(50)])
    commands.sent.clear()

    answer = await run(f'{{ calls(projectId: "{PROJECT}") {{ nodes {{ totalStorageSizeBytes }} }} }}')

    assert {node["totalStorageSizeBytes"] for node in answer.data["calls"]["nodes"]} == {4}
    assert commands.names == ["find", "aggregate"]
