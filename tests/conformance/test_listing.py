"""Tests that the schema has every class and field of the reference API's listing."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLNonNull, GraphQLSchema, GraphQLString
from graphql import build_schema as parse_sdl

from graphql_schema.schema import sdl
from tests.conformance.coverage import CLASSES
from tests.conformance.listing import faults, needless, read, table
from tests.conformance.proofs import PROOFS

ROOT = Path(__file__).parents[2]

Fields = Callable[[str], dict[str, Any]]
Change = Callable[[GraphQLSchema, Fields], object]


@pytest.fixture
def schema() -> GraphQLSchema:
    """Return the committed schema, which a test may change.

    Another test requires that it equals the schema of the server.
    """
    return parse_sdl(sdl())


def test_schema_has_every_class_and_field_of_the_listing(schema: GraphQLSchema) -> None:
    found = list(faults(schema))

    assert not found, f"add these to the schema, or explain them in tests/conformance/coverage.py: {found}"


def test_every_exception_is_needed(schema: GraphQLSchema) -> None:
    found = list(needless(schema))

    assert not found, f"remove these exceptions from tests/conformance/coverage.py: {found}"


def test_every_exception_has_its_reason_in_the_table() -> None:
    lines = list(table())

    assert len(lines) == 2 + len(read()) > 120
    assert any(line.startswith("| `CallReadReq` | `Query.call` | tests/") for line in lines)
    assert any(line.startswith("| `BaseModelStrict` | it has no fields") for line in lines)


def test_every_class_has_a_test() -> None:
    markers = {name for name, instead in CLASSES.items() if instead.place is None}

    differing = PROOFS.keys() ^ (read().keys() - markers)
    assert not differing, f"name the test of each class in tests/conformance/proofs.py: {sorted(differing)}"


def test_listed_tests_exist() -> None:
    missing = [proof for proof in sorted(set(PROOFS.values())) if not is_there(proof)]

    assert not missing, f"correct these in tests/conformance/proofs.py: {missing}"


def is_there(proof: str) -> bool:
    """Return whether the file contains the named test."""
    file, _, name = proof.partition("::")
    path = ROOT / file
    tree = ast.parse(path.read_text() if path.exists() else "")
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in tree.body)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda schema, _: schema.type_map.pop("FilesStatsRes"),
            "FilesStatsRes: the schema has no FilesStatsRes",
        ),
        (
            lambda _, fields: fields("Query").pop("threads"),
            "ThreadsQueryReq: the schema has no Query.threads",
        ),
        (
            lambda _, fields: fields("CallSchema").pop("exception"),
            "CallSchema.exception: the schema has no CallSchema.exception",
        ),
        (
            lambda _, fields: fields("Mutation")["objDelete"].args.pop("digests"),
            "ObjDeleteReq.digests: the schema has no Mutation.objDelete(digests)",
        ),
        (
            lambda _, fields: fields("CallConnection").pop("nodes"),
            "CallsQueryRes.calls: the schema has no CallConnection.nodes",
        ),
        (
            lambda _, fields: may_be_null(fields("CallSchema")["traceId"]),
            "CallSchema.trace_id: CallSchema.traceId is ID, and listed as ",
        ),
        (
            lambda _, fields: may_not_be_null(fields("CallSchema")["exception"]),
            "CallSchema.exception: CallSchema.exception is String!, and listed as ",
        ),
        (
            lambda _, fields: may_be_null(fields("StartedCallSchemaForInsert")["opName"]),
            "StartedCallSchemaForInsert.op_name: StartedCallSchemaForInsert.opName is String, and listed as ",
        ),
        (
            lambda _, fields: may_not_be_null(fields("Mutation")["callUpdate"].args["displayName"]),
            "CallUpdateReq.display_name: Mutation.callUpdate(displayName) is String!, and listed as ",
        ),
        (
            lambda _, fields: be(fields("ThreadSchema")["turnCount"], GraphQLNonNull(GraphQLString)),
            "ThreadSchema.turn_count: ThreadSchema.turnCount is String!, and listed as ",
        ),
        (
            lambda _, fields: be(fields("TableUpdateRes")["updatedRowDigests"], GraphQLNonNull(GraphQLString)),
            "TableUpdateRes.updated_row_digests: TableUpdateRes.updatedRowDigests is String!, and listed as ",
        ),
        (
            lambda _, fields: be(fields("CallCreateBatchRes")["res"], fields("CallConnection")["nodes"].type),
            "CallCreateBatchRes.res: CallCreateBatchRes.res is [CallSchema!]!, and listed as ",
        ),
        (
            lambda schema, _: schema.type_map["SortDirection"].values.pop("DESC"),
            "SortBy.direction: SortBy.direction is SortDirection!, and listed as ",
        ),
        (
            lambda _, fields: may_be_null(fields("TableStatsRow")["count"]),
            "TableQueryStatsRes.count: TableStatsRow.count is BigInt, not BigInt!",
        ),
    ],
)
def test_missing_and_different_fields_are_reported(schema: GraphQLSchema, change: Change, fault: str) -> None:
    change(schema, lambda name: schema.type_map[name].fields)  # type: ignore[attr-defined]

    assert [found for found in faults(schema) if found.startswith(fault)]


def be(node: Any, kind: object) -> None:
    node.type = kind


def may_be_null(node: Any) -> None:
    node.type = node.type.of_type


def may_not_be_null(node: Any) -> None:
    node.type = GraphQLNonNull(node.type)


def test_unneeded_exception_is_reported(schema: GraphQLSchema, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conformance import coverage  # noqa: PLC0415

    monkeypatch.setitem(coverage.FIELDS, "CallSchema.id", coverage.Instead("no reason", "CallSchema.id"))
    monkeypatch.setitem(coverage.CLASSES, "CallSchema", coverage.Instead("no reason", "CallSchema"))

    assert set(needless(schema)) == {"CallSchema.id", "CallSchema"}
