"""Each plain field selected alone equals the same field selected together with all others of its type."""

import json
from collections.abc import Iterator
from itertools import groupby
from random import Random
from typing import Any, Final

from graphql import GraphQLObjectType, GraphQLSchema, get_named_type, is_composite_type, parse

from graphql_schema.context import Context, Stores
from graphql_schema.schema import build_schema
from stores.database import Database
from stores.json import codec
from tests.chance import SEED, cases
from tests.graphql_schema.permissions.steps import Steps, objects, reached
from tests.graphql_schema.permissions.test_relations import LIMITS, OUR_WORDS, OURS, RootArguments, is_unsteady
from tests.graphql_schema.permissions.twins import Builder

ALWAYS_NULL: Final = {"CallSchema.deletedAt", "ObjSchema.deletedAt"}
"""Plain fields of entities that are null in every answer, because queries return nothing that is deleted."""


def singles(document: str) -> Iterator[tuple[str, str]]:
    """Yield each plain field that a step selects at its end, by its alias, and the document that selects only it."""
    inner: Any = parse(document).definitions[0]
    while not any(each.kind == "field" and each.alias.value == "here" for each in inner.selection_set.selections):
        [inner] = inner.selection_set.selections
    span = inner.selection_set.loc
    for field in inner.selection_set.selections:
        if field.alias and "_" in field.alias.value and not field.selection_set:
            alone = document[field.loc.start : field.loc.end]
            yield field.alias.value, f"{document[: span.start]}{{ {alone} }}{document[span.end :]}"


def field_of(single: tuple[str, str, Any]) -> str:
    """Return the field that a document selects alone."""
    return single[0]


def values(answer: Any, alias: str) -> list[Any]:
    """Return the values under an alias, in document order."""
    return [each[alias] for each in objects(answer) if alias in each]


def plain_fields_of_entities(schema: GraphQLSchema) -> set[str]:
    """Return the fields of entities that have no selection, as `Type.field`."""
    return {
        f"{kind.name}.{name}"
        for kind in schema.type_map.values()
        if isinstance(kind, GraphQLObjectType) and kind.interfaces
        for name, field in kind.fields.items()
        if not is_composite_type(get_named_type(field.type))
    }


async def test_plain_field_selected_alone_equals_the_field_among_all_others(database: Database) -> None:
    async def ask(document: str) -> Any:
        result = await schema.execute(document, {}, Context(stores))
        assert result.errors is None, (result.errors, document)
        return json.loads(codec.dumps(result.data))

    schema, stores = build_schema(LIMITS), Stores(database)
    twin = await Builder(stores, OURS, OUR_WORDS, to=OURS).build()
    steps = Steps(schema._schema, ask, RootArguments(twin).spelled)
    await steps.go()
    answers = {
        document: answer
        for document, answer in steps.answers.items()
        if "here: " in document and not is_unsteady(document)
    }

    every = [(alias, single, together) for document, together in answers.items() for alias, single in singles(document)]
    Random(SEED).shuffle(every)
    by_field = [[*places] for _, places in groupby(sorted(every, key=field_of), field_of)]

    differing = [
        f"{alias.replace('_', '.')} is {found} alone, and {expected} among others: {single}"
        for places in by_field
        for alias, single, together in places[: cases(len(places))]
        if (found := values(await ask(single), alias)) != (expected := values(together, alias))
    ]
    await stores.close()
    filled = reached(list(answers.values()))
    unfilled = plain_fields_of_entities(schema._schema) - ALWAYS_NULL - filled

    assert not differing, (
        "name the document paths that these fields need in `reads` of their store, or for calls in their row "
        f"of stores/calls/columns.toml: {differing}"
    )
    assert not unfilled, f"give these fields a value in tests/graphql_schema/permissions/twins.py: {sorted(unfilled)}"
