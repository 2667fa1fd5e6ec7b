"""Expanded columns in the API: values in answers, and queries and sorts through refs."""

from stores.calls import CallsStore
from stores.objects import ObjectsStore
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.objects.builders import version

ASK = """
query ($project: ID!, $columns: [String!], $query: QueryInput, $return: Boolean) {
    calls(
        projectId: $project, expandColumns: $columns, returnExpandedColumnValues: $return, query: $query
        sortBy: [{field: "inputs.model.t", direction: DESC}]
    ) { totalCount nodes { id model: inputs(path: "model") } }
    callsStats(projectId: $project, expandColumns: $columns, query: $query) { count totalStorageSizeBytes }
    explain(projectId: $project, expandColumns: $columns, query: $query) { pipeline }
}
"""
WARM = {"expr": {"gt": [{"getField": "inputs.model.t"}, {"literal": 0}]}}


async def written(objects: ObjectsStore, calls: CallsStore) -> list[str]:
    """Create three models with t from 0 to 2 and a call with each as its input; return the models' refs."""
    digests = [await objects.create(version({"t": t}, object_id="model")) for t in range(3)]
    refs = [f"weave:///{PROJECT}/object/model:{digest}" for digest in digests]
    await calls.write([start(n, inputs={"model": ref}) for n, ref in enumerate(refs)])
    return refs


async def test_calls_counts_and_plans_read_through_refs(run: Run, objects: ObjectsStore, calls: CallsStore) -> None:
    refs = await written(objects, calls)

    answer = await run(ASK, project=PROJECT, columns=["inputs.model"], query=WARM)

    assert answer.errors == []
    assert answer.data["calls"] == {
        "totalCount": 2,
        "nodes": [{"id": call_id(n), "model": {"t": n, "_ref": refs[n]}} for n in (2, 1)],
    }
    assert answer.data["callsStats"] == {"count": 2, "totalStorageSizeBytes": 2 * len('{}{"model": ""}' + refs[0])}
    assert any("$lookup" in stage for stage in answer.data["explain"]["pipeline"])


async def test_refs_are_not_resolved_if_their_values_are_not_requested(
    run: Run, objects: ObjectsStore, calls: CallsStore
) -> None:
    refs = await written(objects, calls)

    answer = await run(ASK, project=PROJECT, columns=["inputs.model"], **{"return": False})

    assert answer.data["calls"]["nodes"] == [{"id": call_id(n), "model": refs[n]} for n in (2, 1, 0)]


async def test_refs_are_text_without_expand_columns(run: Run, objects: ObjectsStore, calls: CallsStore) -> None:
    refs = await written(objects, calls)

    none = await run(ASK, project=PROJECT, query=WARM)
    empty = await run(ASK, project=PROJECT, columns=[])

    assert (none.data["calls"]["totalCount"], none.data["callsStats"]["count"]) == (0, 0)
    assert [node["model"] for node in empty.data["calls"]["nodes"]] == refs[::-1]


async def test_invalid_expand_column_is_named(run: Run) -> None:
    answer = await run(ASK, project=PROJECT, columns=["inputs.model", "op_name"])

    assert {error["extensions"]["argument"] for error in answer.errors} == {"expandColumns.1"}
    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}
