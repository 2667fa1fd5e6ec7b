"""The cost counts selections as execution does: fragments, names, directives, types, and bombs of all of these."""

from random import Random
from typing import Any

import pytest
import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLCompositeType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
    is_required_argument,
    parse,
    validate,
)
from graphql.execution.collect_fields import collect_fields
from graphql.execution.executor import Executor
from graphql.execution.values import VariableValues, get_argument_values

from graphql_schema.limits.cost import MAX_NUMBER, CostFormula
from graphql_schema.limits.cost_weights import INNER, UNINDEXED, Weights
from graphql_schema.schema import LoomSchema
from tests.graphql_schema.execution.random_documents import RandomDocument
from tests.graphql_schema.limits.costing import Pricing, about, prepared

DOCUMENTS = 50


@strawberry.interface
class Thing:
    name: str = "thing"

    @strawberry.field
    def children(self, first: int) -> list["Thing"]:  # noqa: ARG002 -- an argument to tell a size
        return []


@strawberry.type
class Leaf(Thing):
    @strawberry.field
    def twin(self) -> Thing:
        return Leaf()


@strawberry.type
class Branch(Thing):
    @strawberry.field
    def twigs(self, first: int) -> list[Leaf]:  # noqa: ARG002 -- as above
        return []


@strawberry.type
class Query:
    @strawberry.field
    def thing(self) -> Thing:
        return Leaf()


@pytest.fixture(scope="module")
def things() -> Pricing:
    return Pricing(strawberry.Schema(Query, types=[Leaf, Branch])._schema)


@pytest.mark.parametrize(
    ("document", "cost"),
    [
        ("{ thing { name } }", 1),
        ("{ thing { children(first: 3) { name } } thing { children(first: 3) { name __typename } } }", 4),
        (
            """{ thing { ...A ...B } } fragment A on Thing { children(first: 3) { name } }
            fragment B on Thing { children(first: 3) { children(first: 2) { name } } }""",
            1 + 3 * 3,
        ),
        ("{ thing { a: children(first: 3) { name } b: children(first: 2) { name } } }", 6),
        ("{ a: thing { ...A } b: thing { ...A ...A } } fragment A on Thing { children(first: 3) { name } }", 8),
        # an object is either a leaf or a branch
        ("{ thing { ... on Leaf { twin { name } } ... on Branch { twigs(first: 5) { name } } } }", 1 + 5),
        ("{ thing { ... on Leaf { twin { name } } ... on Branch { name } } }", 1 + 1),
        ("{ thing { children(first: 2) { name } ... on Branch { twigs(first: 5) { name } } } }", 1 + 2 + 5),
        ("{ thing { ... on Thing { ... on Leaf { ... on Thing { children(first: 2) { name } } } } } }", 3),
        ("{ thing { children(first: 4) @skip(if: true) { name } name @include(if: true) } }", 1),
        ("{ thing { ... @include(if: false) { children(first: 4) { name } } } }", 1),
        ("{ thing { ...A @skip(if: true) } } fragment A on Thing { children(first: 4) { name } }", 1),
    ],
)
def test_merged_fragment_and_skipped_selections_are_counted_correctly(
    things: Pricing, document: str, cost: int
) -> None:
    assert things.of(document) == cost


def test_directives_are_evaluated_with_their_variables(things: Pricing) -> None:
    document = """query ($a: Boolean!, $b: Boolean = true, $n: Int!) {
        thing { x: children(first: $n) @include(if: $a) { name } y: children(first: 7) @skip(if: $b) { name } }
    }"""

    costs = [things.of(document, a=a, b=b, n=n) for a, b, n in [(True, True, 2), (False, True, 2), (True, False, 100)]]

    assert costs == [1 + 2, 1, 1 + 100 + 7]
    assert things.of(document, a=True, n=4) == 1 + 4


def test_document_with_many_flags_is_counted_correctly_each_time(things: Pricing) -> None:
    flags = range(8)
    document = f"query ({' '.join(f'$f{each}: Boolean!' for each in flags)}) {{ thing {{ "
    document += " ".join(f"a{each}: children(first: {2**each}) @include(if: $f{each}) {{ name }}" for each in flags)
    executor = prepared(things.schema, document + " } }", {f"f{each}": True for each in flags})
    formula = CostFormula(things.weights, things.limits, executor.operation, executor.fragment_definitions)

    for number in [*range(256), *range(256)]:
        values = {f"f{each}": bool(number & 2**each) for each in flags}
        found = formula.extensions(VariableValues({}, values))
        assert found is not None
        assert found["cost"]["requested"] == 1 + number


def test_fragment_bomb_is_counted_without_expanding_it(things: Pricing) -> None:
    levels = 100
    bomb = "{ thing { ...F0 } }" + "".join(
        f"fragment F{level} on Thing {{ a: children(first: 9) {{ ...F{level + 1} }}"
        f" b: children(first: 9) {{ ...F{level + 1} }} }}"
        for level in range(levels)
    )
    bomb += f"fragment F{levels} on Thing {{ name }}"

    assert things.of(bomb, is_bomb=True) == MAX_NUMBER
    assert "more than 1,000,000,000,000,000" in Pricing(things.schema, 1000).refusal(bomb, is_bomb=True).message


def test_fragment_bomb_with_variables_is_counted_without_expanding_it(things: Pricing) -> None:
    levels = 40
    bomb = "query ($n: Int!) { thing { ...F0 } }" + "".join(
        f"fragment F{level} on Thing {{ a: children(first: $n) {{ ...F{level + 1} }}"
        f" b: children(first: 1) {{ ...F{level + 1} }} }}"
        for level in range(levels)
    )
    bomb += f"fragment F{levels} on Thing {{ name }}"

    assert things.of(bomb, is_bomb=True, n=0) == 1 + levels
    assert things.of(bomb, is_bomb=True, n=1) == 2 ** (levels + 1) - 1
    assert things.of(bomb, is_bomb=True, n=10_000) == MAX_NUMBER


def test_names_with_too_many_merged_selections_are_refused(things: Pricing) -> None:
    """Each two fragments of a level merge into another pair below, so the number of pairs explodes."""
    levels, width = 12, 40
    text = "{ thing { " + " ".join(f"...F0x{n}" for n in range(width)) + " } }"
    for level in range(levels):
        for n in range(width):
            down = " ".join(f"a{m}: children(first: 1) {{ ...F{level + 1}x{(n * m) % width} }}" for m in range(6))
            text += f" fragment F{level}x{n} on Thing {{ {down} }}"
    text += "".join(f" fragment F{levels}x{n} on Thing {{ name }}" for n in range(width))

    error = things.refusal(text, is_bomb=True)

    assert "too often, for its cost to be counted" in error.message
    assert error.extensions == {"code": "QUERY_TOO_COMPLEX"}


def test_document_deeper_than_the_stack_is_refused(things: Pricing) -> None:
    deep = "{ thing { ...F0 } }" + "".join(
        f"fragment F{level} on Thing {{ children(first: 1) {{ ...F{level + 1} }} }}" for level in range(2000)
    )
    deep += "fragment F2000 on Thing { name }"

    assert "nests too deeply" in things.refusal(deep, is_bomb=True).message


class PagedDocument(RandomDocument):
    """A random document with arguments of input types only where they are required."""

    def _arguments(self, arguments: dict[str, GraphQLArgument]) -> str:
        needed = {
            name: each for name, each in arguments.items() if is_required_argument(each) or not has_fields(each.type)
        }
        return super()._arguments(needed)


def has_fields(kind: GraphQLInputType) -> bool:
    return isinstance(get_named_type(kind), GraphQLInputObjectType)


@pytest.mark.parametrize("seed", range(2))
def test_random_documents_cost_the_same_as_when_expanded(schema: LoomSchema, pricing: Pricing, seed: int) -> None:
    """The expected cost comes from an expansion of all selections with graphql-core's own functions."""
    compared = nested = 0
    for number in range(DOCUMENTS):
        made = PagedDocument(schema._schema, Random(f"{seed}/{number}"))
        text = made.text()
        if validate(schema._schema, parse(text)):
            continue
        variables = made.values()
        executor = Executor.build(schema._schema, parse(text), raw_variable_values=variables)
        if not isinstance(executor, Executor):
            continue
        expected = min(unfolded(executor), MAX_NUMBER)
        assert pricing.of(text, **variables) == expected, (text, variables)
        compared += 1
        nested += expected > 1000
    assert compared > DOCUMENTS / 2
    assert nested > DOCUMENTS / 10


def unfolded(executor: Executor[Any]) -> int:
    """Return the cost of an operation by the plain rules, without any optimisation."""
    schema, weights, work = executor.schema, Weights(executor.schema), 0
    root = schema.get_root_type(executor.operation.operation)
    assert root is not None

    def fields(kind: GraphQLObjectType, grouped: dict[str, Any], handed: int | None, *, in_list: bool) -> int:
        nonlocal work
        total = 0
        for details in grouped.values():
            node = details[0].node
            definition = schema.get_field(kind, node.name.value)
            assert definition is not None
            weight = weights.of(kind, node.name.value, definition)
            work += weight.work
            values = get_argument_values(definition, node, executor.variable_values)
            given = {name: values.get(each.out_name or name) for name, each in definition.args.items()}
            stated = size_of(weight.arguments or weight.size, weight.nested if in_list else weight.default, given)
            is_list = is_list_type(get_nullable_type(definition.type))
            known = [size for size in (stated, handed, INNER) if size is not None]
            below = get_named_type(definition.type)
            each = weight.own
            if is_composite_type(below):
                each += most(below, details, None if is_list else stated, in_list=in_list or is_list)
                if weight.declared.get("scans") and isinstance(below, GraphQLObjectType):
                    selected = executor.collect_subfields(below, details).grouped_field_set.values()
                    each += UNINDEXED * (1 + sum(one[0].node.name.value == "totalCount" for one in selected))
            total += known[0] * each if is_list else each
        return total

    def most(kind: GraphQLCompositeType, details: Any, handed: int | None, *, in_list: bool) -> int:
        kinds = [kind] if isinstance(kind, GraphQLObjectType) else schema.get_possible_types(kind)
        grouped = [(each, executor.collect_subfields(each, details).grouped_field_set) for each in kinds]
        return max(fields(each, selected, handed, in_list=in_list) for each, selected in grouped)

    collected = collect_fields(schema, executor.fragments, executor.variable_values, root, executor.operation)
    return fields(root, collected.grouped_field_set, None, in_list=False) + work


def size_of(rule: Any, default: int, given: dict[str, Any]) -> int | None:
    """Return the number of rows that a field's arguments request, or None if the field has no size."""
    if rule is None or isinstance(rule, int):
        return rule
    for name in rule:
        value = given.get(name)
        if value is not None:
            return len(value) if isinstance(value, list) else min(max(value, 0), 10_000)
    return default


def test_projects_argument_is_not_a_list_size(pricing: Pricing) -> None:
    assert pricing.of(about("{ a: calls(%s) { nodes { id } } b: calls(%s, first: 1) { nodes { id } } }")) == (
        20 + 1 + 100 + 1 + 1
    )
