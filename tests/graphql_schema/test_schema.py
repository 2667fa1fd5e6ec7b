"""The whole schema: its committed SDL, descriptions and names."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType
from graphql import build_schema as parse_sdl

from graphql_schema import schema as module
from graphql_schema.schema import LoomSchema, sdl

COMMITTED = Path(module.__file__).with_name("schema.graphql")


def test_committed_sdl_matches_the_schema() -> None:
    assert COMMITTED.read_text() == sdl(), (
        "graphql_schema/schema.graphql is stale; run: loomql schema > graphql_schema/schema.graphql"
    )


def test_python_without_docstrings_cannot_build_the_schema() -> None:
    code = "from graphql_schema.schema import sdl; sdl()"

    ran = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert "Run Python without -OO" in ran.stderr


def test_sdl_is_valid_for_other_tools() -> None:
    assert {"Query", "Mutation", "Subscription"} <= set(parse_sdl(sdl()).type_map)


def described(schema: LoomSchema) -> Iterator[tuple[str, str | None]]:
    for name, kind in schema._schema.type_map.items():
        if name.startswith("__"):
            continue
        yield name, kind.description
        match kind:
            case GraphQLEnumType():
                yield from ((f"{name}.{value}", item.description) for value, item in kind.values.items())
            case GraphQLInputObjectType():
                yield from ((f"{name}.{field}", item.description) for field, item in kind.fields.items())
            case GraphQLObjectType() | GraphQLInterfaceType():
                for field, item in kind.fields.items():
                    yield f"{name}.{field}", item.description
                    yield from ((f"{name}.{field}({arg}:)", of.description) for arg, of in item.args.items())


def test_everything_in_the_schema_has_a_description(schema: LoomSchema) -> None:
    places = dict(described(schema))

    assert len(places) > 100
    undescribed = [place for place, text in places.items() if not text]
    assert not undescribed, f"describe these where graphql_schema defines them: {undescribed}"


def test_optional_arguments_have_no_default_of_null() -> None:
    assert "= null" not in sdl()


def test_connections_are_named_after_their_concept(schema: LoomSchema) -> None:
    connection = schema._schema.type_map["CallConnection"]

    assert isinstance(connection, GraphQLObjectType)
    assert {name: str(field.type) for name, field in connection.fields.items()} == {
        "edges": "[CallEdge!]!",
        "nodes": "[CallSchema!]!",
        "pageInfo": "PageInfo!",
        "totalCount": "BigInt!",
    }
