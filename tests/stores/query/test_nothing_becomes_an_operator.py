"""Tests that clients' texts remain data: each string in a compiled query is the compiler's or at a place for data.

The walk below knows every position that takes data. It fails for a client's text at any other position, and for an
operator that the compiler never uses.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from stores.calls.fields import CALL_FIELDS
from stores.calls.list_query import compile_calls_query
from stores.json.bson_copy import escape_key
from stores.query import Query
from stores.query.fields import Kind
from stores.query.match_compiler import compile_match
from stores.query.parser import Scalar, parse_query
from stores.query.sort import SortBy, compile_sort
from stores.query.value_expressions import NUMERIC
from tests.stores.calls.builders import PROJECT
from tests.stores.query.generator import Generator, Tree
from tests.stores.query.oracle import NESTED, Row

MARK: Final = "client"
HOSTILE: Final = tuple(
    form.replace("X", MARK)
    for form in (
        "$X",
        "$$X",
        "$inputs.X",
        "X",
        "X.*",
        "^X$",
        "[X",
        '{"$where": "X"}',
        "$$ROOT.X",
        "X\0",
        "\\X",
        "$$v X",
    )
)
HOSTILE_KEYS: Final = ("$client", "$$client", "a.client", "client\0", "$where client", "%24client", "client")

QUERY_OPERATORS: Final = {
    *("$and", "$or", "$nor", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$type", "$expr"),
    *("$regex", "$options"),
}
OPERATORS: Final = {
    *("$and", "$or", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$type", "$literal", "$ifNull"),
    *("$let", "$cond", "$switch", "$getField", "$arrayElemAt", "$isArray", "$isNumber", "$convert", "$regexMatch"),
    *("$indexOfBytes", "$concat", "$substrBytes", "$toString", "$toLong", "$toInt", "$toDouble", "$toDate", "$rtrim"),
    *("$dateToString", "$add", "$subtract", "$multiply", "$divide", "$mod", "$abs", "$trunc", "$floor", "$round"),
    *("$log10", "$pow", "$sum", "$reduce", "$regexFind", "$first", "$last", "$map", "$replaceAll", "$ltrim"),
}
VALUES: Final = {"$eq", "$gt", "$gte", "$lt", "$lte"}
"""Operators of match documents whose operand is data."""
PATH: Final = re.compile(r"\w+(\.[^$.\0][^.\0]*)*")
_ESCAPED: Final = r"(\\x[0-9a-f]{2}|[0-9A-Za-z_\u0080-\U0010ffff])*"
ESCAPED: Final = re.compile(_ESCAPED)
_TO_KEY: Final = rf"\\\{{\(\?:\(\?!{_ESCAPED}\)\(\?&string\):\(\?&value\),\)\*\+\(\?&string\):"
_TO_MEMBER: Final = r"\\\[(\(\?&members[1-9]\){[1-9]})*"
STEPS: Final = re.compile(rf"({_TO_KEY}|\(\?:{_TO_KEY}\|{_TO_MEMBER}\))+\(\(\?&nested\)\)")
"""Pattern of the steps to a part of a JSON text, which follow the definitions; keys in it are escaped."""


def check_match(match: Any) -> None:
    """Check a match: operators at the top, conditions under escaped paths."""
    for name, inner in match.items():
        if name == "$expr":
            check_expression(inner)
        elif name in ("$and", "$or", "$nor"):
            for term in inner:
                check_match(term)
        else:
            assert PATH.fullmatch(name), name
            check_condition(inner)


def check_condition(condition: Any) -> None:
    if not isinstance(condition, dict):
        assert is_scalar(condition)
        return
    for name, inner in condition.items():
        assert name in QUERY_OPERATORS - {"$expr"}, name
        if name == "$not":
            check_condition(inner)
        elif name == "$in":
            assert all(is_scalar(member) for member in inner)
        elif name in VALUES:
            assert is_scalar(inner)
        elif name == "$regex":
            assert inner == NUMERIC or ESCAPED.fullmatch(inner)
        else:
            assert MARK not in repr(inner)


def check_expression(expression: Any) -> None:
    """Check an expression: data in `$literal` only, plain keys in `$getField`, texts in patterns escaped."""
    if isinstance(expression, str):
        assert MARK not in expression
        return
    if isinstance(expression, list):
        for member in expression:
            check_expression(member)
        return
    if not isinstance(expression, dict):
        return
    operators = {name for name in expression if name.startswith("$")}
    assert operators <= OPERATORS
    assert len(operators) == (1 if operators else 0)
    assert MARK not in "".join(expression)
    if "$literal" in expression:
        assert is_scalar(expression["$literal"])
        return
    if "$regexMatch" in expression:
        pattern = expression["$regexMatch"]
        assert MARK not in pattern["regex"] or ESCAPED.fullmatch(pattern["regex"])
        check_expression(pattern["input"])
        return
    if "$regexFind" in expression:
        definitions, steps = expression["$regexFind"]["regex"].split(r"\A")
        assert MARK not in definitions
        assert STEPS.fullmatch(steps)
        check_expression(expression["$regexFind"]["input"])
        return
    if "$getField" in expression:
        assert list(expression["$getField"]["field"]) == ["$literal"]
    for inner in expression.values():
        check_expression(inner)


def is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def strings(tree: object) -> Iterator[str]:
    """Yield every string in a tree, including keys."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for name, inner in tree.items():
            yield name
            yield from strings(inner)
    elif isinstance(tree, list):
        for member in tree:
            yield from strings(member)


def hostile_path(generator: Generator) -> str:
    keys = [generator.dice.choice((*HOSTILE_KEYS, "0", "12")) for _ in range(generator.dice.randint(1, 4))]
    return ".".join([generator.dice.choice(NESTED), *(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)])


def made_hostile(tree: Tree, generator: Generator) -> Tree:
    """Return a tree with hostile texts as literals and hostile paths for its JSON fields."""
    if isinstance(tree, list):
        return [made_hostile(member, generator) for member in tree]
    if not isinstance(tree, dict):
        return tree
    if "$literal" in tree:
        return {"$literal": generator.dice.choice(HOSTILE) if isinstance(tree["$literal"], str) else tree["$literal"]}
    if str(tree.get("$getField", "")).startswith(NESTED):
        return {"$getField": hostile_path(generator)}
    if "$getField" in tree:
        field = CALL_FIELDS[tree["$getField"]].field
        # A query refuses a hostile text next to a number, a time or a status.
        return {"$getField": "output"} if field.kind in (Kind.NUMBER, Kind.TIME) or field.values else tree
    return {name: made_hostile(inner, generator) for name, inner in tree.items()}


def row() -> Row:
    return {"inputs": {"a": [{"b": "c"}]}, "output": "text", "summary": {"c": 1}, "attributes": {"d": [1, "2"]}}


def test_query_literals_remain_data() -> None:
    generator, seen = Generator(7), 0

    for _ in range(1_500):
        tree = made_hostile(generator.query([row()]), generator)
        match = compile_match(compile_calls_query(Query(tree), CALL_FIELDS, PROJECT))
        check_match(match)
        seen += sum(MARK in text for text in strings(match))

    assert seen > 1_500


def test_sort_paths_remain_keys() -> None:
    generator, seen = Generator(8), 0

    for _ in range(300):
        order = compile_sort([SortBy(hostile_path(generator))], CALL_FIELDS)
        for stage in order.stages({}, [0, "$client", "id"], backward=generator.dice.random() < 0.5):
            [(name, inner)] = stage.items()
            match name:
                case "$match":
                    check_match(inner)
                case "$set":
                    check_expression(inner)
                    seen += MARK in repr(inner)
                case _:
                    assert name == "$sort"
                    assert MARK not in repr(inner)

    assert seen > 200


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("comparison", ["$eq", "$gt", "$gte", "$lt", "$lte"])
def test_text_compared_with_a_path_is_an_operand(text: Scalar, comparison: str) -> None:
    tree = {comparison: [{"$getField": "inputs.a.b"}, {"$literal": text}]}

    match = compile_match(parse_query({"$expr": tree}, CALL_FIELDS))

    assert {"inputs.a.b": {comparison: text}} in match["$and"]


@pytest.mark.parametrize("text", HOSTILE)
def test_prefix_compared_with_a_path_is_an_operand(text: str) -> None:
    tree = {"$startsWith": [{"$getField": "inputs.a.b"}, {"$literal": text}]}

    match = compile_match(parse_query({"$expr": tree}, CALL_FIELDS))

    assert {"inputs.a.b": {"$gte": text, "$lt": text[:-1] + chr(ord(text[-1]) + 1)}} in match["$and"]


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_key_is_escaped_as_in_the_bson_copy(key: str) -> None:
    name = "inputs." + key.replace(".", "\\.")

    match = compile_match(parse_query({"$expr": {"$eq": [{"$getField": name}, {"$literal": 1}]}}, CALL_FIELDS))

    assert {f"inputs.{escape_key(key)}": {"$eq": 1}} in match["$and"]


@pytest.mark.parametrize(
    "match",
    [
        {"$where": "client"},
        {"inputs.a": {"$regex": "client.*"}},
        {"inputs.$client": {"$eq": 1}},
        {"inputs.a": {"$eq": {"$gt": 1}}},
        {"$expr": {"$eq": ["$client", 1]}},
        {"$expr": {"$eq": [{"$function": {}}, 1]}},
        {"$expr": {"$eq": [{"$getField": {"field": "client", "input": "$inputs"}}, 1]}},
        {"$expr": {"$regexMatch": {"input": "$op_name", "regex": "client.*"}}},
        {"$expr": {"$regexFind": {"input": "$op_name", "regex": r"\Aclient.*"}}},
        {"$expr": {"$regexFind": {"input": "$op_name", "regex": r"client\A((?&nested))"}}},
    ],
)
def test_operator_check_detects_operators(match: Tree) -> None:
    with pytest.raises(AssertionError):
        check_match(match)
