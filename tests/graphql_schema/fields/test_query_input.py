"""The query input: accepted and rejected queries, and the equivalence of its two forms."""

import json
import re
from dataclasses import asdict
from typing import Any

import pytest
from graphql import GraphQLInputObjectType

from graphql_schema.schema import LoomSchema
from stores.calls import CallsStore
from tests.chance import cases
from tests.graphql_schema.conftest import Answer, Run
from tests.graphql_schema.query_trees import Tree, eq, field, lit, typed
from tests.stores.calls.builders import call_id, start
from tests.stores.query.generator import Generator

QUERY = 'query ($query: QueryInput) { callsStats(projectId: "acme/chat", query: $query) { count } }'
PLAN = 'query ($query: QueryInput!) { explain(projectId: "acme/chat", query: $query) { pipeline } }'
RANDOM_QUERIES = cases(50)

SNIPPETS = {
    "Operation": "%s",
    "ContainsOperation": "{contains: %s}",
    "ConvertOperation": "{gt: [{convert: %s}, {literal: 18}]}",
}


async def inline(run: Run, expr: str) -> Answer:
    """Return the answer to a query whose operation is part of the document."""
    return await run(f'{{ callsStats(projectId: "acme/chat", query: {{expr: {expr}}}) {{ count }} }}')


def fault(answer: Answer) -> tuple[str, str]:
    """Return the argument and the message of the only error; the message starts with the argument."""
    assert answer.code == "BAD_USER_INPUT"
    [error] = answer.errors
    argument = error["extensions"]["argument"]
    return argument, error["message"].removeprefix(f"{argument}: ")


def examples(schema: LoomSchema) -> dict[str, list[str]]:
    """Return the examples in the descriptions of input types, by type."""
    kinds = schema._schema.type_map.items()
    found = {
        name: re.findall(r"`(\{.*?\})`", kind.description or "")
        for name, kind in kinds
        if isinstance(kind, GraphQLInputObjectType)
    }
    return {name: snippets for name, snippets in found.items() if snippets}


async def test_examples_in_descriptions_are_valid_queries(run: Run, schema: LoomSchema) -> None:
    found = examples(schema)

    assert found.keys() == SNIPPETS.keys()
    for name, snippets in found.items():
        for snippet in snippets:
            answer = await inline(run, SNIPPETS[name] % snippet)
            assert answer == ({"callsStats": {"count": 0}}, []), snippet


async def test_example_of_the_raw_form_is_a_valid_query(run: Run, schema: LoomSchema, calls: CallsStore) -> None:
    kind = schema._schema.type_map["QueryInput"]
    assert isinstance(kind, GraphQLInputObjectType)
    example = re.search(r"\{.*\}", kind.fields["json"].description or "")
    assert example is not None
    await calls.write([start(1, op_name="f"), start(2)])

    answer = await run(QUERY, query={"json": json.loads(example[0])})

    assert answer == ({"callsStats": {"count": 1}}, [])


async def test_random_queries_compile_equally_in_both_forms(run: Run) -> None:
    generator = Generator(seed=3)
    parts = generator.calls(20)
    rows = [asdict(part) for part in parts]
    compiled = set()

    for _ in range(RANDOM_QUERIES):
        raw = generator.query(rows)
        by_json = await run(PLAN, query={"json": raw})
        by_expr = await run(PLAN, query={"expr": typed(raw["$expr"])})
        assert by_json.errors == by_expr.errors == [], raw
        assert by_json.data == by_expr.data, raw
        compiled.add(json.dumps(by_json.data))

    assert len(compiled) > RANDOM_QUERIES * 0.8


@pytest.mark.parametrize(
    ("variables", "expr", "values"),
    [
        ("$x: Operation!", "$x", {"x": typed(eq("inputs.a", 1))}),
        ("$x: [Operand!]!", "{eq: $x}", {"x": [typed(field("inputs.a")), typed(lit(1))]}),
        ("$x: Operand!", "{eq: [$x, {literal: 1}]}", {"x": typed(field("inputs.a"))}),
        ("$x: String!", "{eq: [{getField: $x}, {literal: 1}]}", {"x": "inputs.a"}),
        ("$x: Literal!", '{eq: [{getField: "inputs.a"}, {literal: $x}]}', {"x": 1}),
        ("$x: Boolean!", '{eq: [{getField: "parent_id"}, {nullLiteral: $x}]}', {"x": True}),
        ("$x: InOperation!", "{in: $x}", {"x": {"input": {"getField": "inputs.a"}, "values": [{"literal": 1}]}}),
        (
            "$x: [Operand!]!",
            '{in: {input: {getField: "inputs.a"}, values: $x}}',
            {"x": [{"literal": 2}, {"literal": 1}]},
        ),
        (
            "$x: ContainsOperation!",
            "{contains: $x}",
            {"x": {"input": {"getField": "inputs.b"}, "substr": {"literal": "ONE"}, "caseInsensitive": True}},
        ),
        (
            "$x: Operand!, $fold: Boolean!",
            '{contains: {input: $x, substr: {literal: "ONE"}, caseInsensitive: $fold}}',
            {"x": {"getField": "inputs.b"}, "fold": True},
        ),
        (
            "$x: ConvertOperation!",
            '{eq: [{convert: $x}, {literal: "1"}]}',
            {"x": {"input": {"getField": "inputs.a"}, "to": "STRING"}},
        ),
        (
            "$x: ConvertTo!",
            '{eq: [{convert: {input: {getField: "inputs.a"}, to: $x}}, {literal: "1"}]}',
            {"x": "STRING"},
        ),
    ],
)
async def test_variable_is_accepted_at_any_level(
    run: Run, calls: CallsStore, variables: str, expr: str, values: dict[str, object]
) -> None:
    await calls.write([start(1, inputs={"a": 1, "b": "one"}), start(2, parent_id=call_id(1))])

    answer = await run(
        f'query ({variables}) {{ calls(projectId: "acme/chat", query: {{expr: {expr}}}) {{ nodes {{ id }} }} }}',
        **values,
    )

    assert answer == ({"calls": {"nodes": [{"id": call_id(1)}]}}, [])


@pytest.mark.parametrize(
    ("expr", "argument", "message"),
    [
        ("{and: []}", "query.expr.and", "must be a list of one or more operands"),
        ("{gt: [{literal: 1}]}", "query.expr.gt", "must be a list of 2 operands"),
        ("{and: [{gt: []}]}", "query.expr.and.0.gt", "must be a list of 2 operands"),
        ('{or: [{gt: [{getField: "latency"}, {literal: 1}]}]}', "query.expr.or.0.gt.0.getField", "latency_ms"),
        ('{eq: [{literal: 1}, {getField: "inputs..a"}]}', "query.expr.eq.1.getField", "has an empty key"),
        (
            '{contains: {input: {getField: "inputs"}, substr: {literal: 5}}}',
            "query.expr.contains.substr",
            "must be a string",
        ),
        (
            '{not: [{eq: [{convert: {input: {getField: "opname"}, to: INT}}, {literal: 1}]}]}',
            "query.expr.not.0.eq.0.convert.input.getField",
            "there is no field 'opname'; did you mean op_name?",
        ),
        (
            '{eq: [{getField: "op_name"}, {nullLiteral: false}]}',
            "query.expr.eq.1.nullLiteral",
            "must be true, which means null",
        ),
        (
            '{and: [{in: {input: {getField: "op_name"}, values: [{literal: 1}, {nullLiteral: false}]}}]}',
            "query.expr.and.0.in.values.1.nullLiteral",
            "must be true, which means null",
        ),
        ('{in: {input: {getField: "opname"}, values: []}}', "query.expr.in.input.getField", "did you mean op_name?"),
        (
            '{in: {input: {getField: "op_name"}, values: [{literal: 1}, {getField: "opname"}]}}',
            "query.expr.in.values.1.getField",
            "did you mean op_name?",
        ),
    ],
)
async def test_error_in_the_typed_form_has_its_path(run: Run, expr: str, argument: str, message: str) -> None:
    where, text = fault(await inline(run, expr))

    assert where == argument
    assert message in text


@pytest.mark.parametrize(
    ("query", "argument", "message"),
    [
        ({}, "query.json", "must be an object with the one key $expr"),
        ("x", "query.json", "must be an object with the one key $expr"),
        ({"$expr": {"$where": "1"}}, "query.json.$expr", "there is no operation '$where'; the operations are $and"),
        ({"$expr": {"$gtt": []}}, "query.json.$expr", "did you mean $gt or $gte?"),
        ({"$expr": {"gt": []}}, "query.json.$expr", "did you mean $gt or $gte?"),
        ({"$expr": {"$and": []}}, "query.json.$expr.$and", "must be a list of one or more operands"),
        ({"$expr": {"$not": [lit(1), lit(2)]}}, "query.json.$expr.$not", "must be a list of one"),
        ({"$expr": {"$or": [eq("op_nam", "f")]}}, "query.json.$expr.$or.0.$eq.0.$getField", "did you mean op_name?"),
        ({"$expr": {"$eq": [lit([1]), lit(1)]}}, "query.json.$expr.$eq.0.$literal", "not a list or an object"),
        ({"$expr": {"$eq": [lit({"a": 1}), lit(1)]}}, "query.json.$expr.$eq.0.$literal", "not a list or an object"),
        ({"$expr": lit(value=True)}, "query.json.$expr", "must be one of $and, $or"),
        (
            {"$expr": {"$contains": {"input": field("id"), "substr": lit("a"), "fold": True}}},
            "query.json.$expr.$contains",
            "unknown key 'fold'; the keys are input, substr, case_insensitive",
        ),
    ],
)
async def test_error_in_the_raw_form_has_its_path(run: Run, query: Tree, argument: str, message: str) -> None:
    where, text = fault(await run(QUERY, query={"json": query}))

    assert where == argument
    assert message in text


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ("null", "must be non-null"),
        ("[1]", "a literal must be a string, a number or a boolean; for null use nullLiteral: true"),
        ("{a: 1}", "a literal must be a string, a number or a boolean; for null use nullLiteral: true"),
        ("FOO", 'write it in quotes, as "FOO"'),
        ("1e400", "beyond the range of doubles"),
    ],
)
async def test_literal_is_a_scalar(run: Run, literal: str, reason: str) -> None:
    answer = await inline(run, f"{{eq: [{{literal: {literal}}}, {{literal: 1}}]}}")

    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}
    assert any(reason in error["message"] for error in answer.errors)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({}, ""),
        ({"expr": None}, " at .expr"),
        ({"json": None}, " at .json"),
        ({"expr": typed(eq("id", "x")), "json": {"$expr": eq("id", "x")}}, ""),
        ({"expr": {}}, " at .expr"),
        ({"expr": {"and": [], "or": []}}, " at .expr"),
        ({"expr": {"eq": [{"literal": 1, "nullLiteral": True}, {"literal": 1}]}}, " at .expr.eq[0]"),
        ({"expr": {"eq": [{"literal": 1}, {"literal": None}]}}, " at .expr.eq[1].literal"),
    ],
)
async def test_exactly_one_key_per_level_is_required(run: Run, query: Tree, place: str) -> None:
    answer = await run(QUERY, query=query)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["message"].startswith(f"Variable '$query' has invalid value{place}: Within OneOf Input")
    assert "exactly one field must be specified" in answer.errors[0]["message"]


async def test_scalar_is_not_a_query(run: Run) -> None:
    answer = await run(QUERY, query={"expr": typed(field("id"))})

    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}
    assert "'Operation' not to include unknown field 'getField'" in answer.errors[0]["message"]


@pytest.mark.parametrize("levels", [40, 200, 2000])
async def test_too_deep_nesting_is_refused(run: Run, levels: int) -> None:
    tree: Tree = eq("id", "x")
    for _ in range(levels):
        tree = {"$not": [tree]}

    raw = await run(QUERY, query={"json": {"$expr": tree}})
    by_expr = await run(QUERY, query={"expr": nested(levels)})

    assert fault(raw)[1] == "the query nests deeper than 32 levels"
    assert by_expr.code == "BAD_USER_INPUT"
    assert re.search("nests deeper than 32 levels|nested too deeply", by_expr.errors[0]["message"])


def nested(levels: int) -> dict[str, Any]:
    """Return a deep typed operation. It is built from the inside, since recursion would exceed Python's limit."""
    tree = typed(eq("id", "x"))
    for _ in range(levels):
        tree = {"not": [tree]}
    return dict(tree)


async def test_too_many_terms_are_refused(run: Run) -> None:
    tree = {"$or": [eq("id", str(number)) for number in range(3400)]}

    answers = [await run(QUERY, query={"json": {"$expr": tree}}), await run(QUERY, query={"expr": typed(tree)})]

    assert [fault(answer) for answer in answers] == [
        (f"query.{place}", "the query names fields more than 2,000 times; name fewer")
        for place in ("json.$expr.$or.2000.$eq.0.$getField", "expr.or.2000.eq.0.getField")
    ]
