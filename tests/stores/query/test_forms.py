"""Tests that the two forms of a query are equivalent, and that a printed query parses to the original."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.calls.fields import CALL_FIELDS
from stores.query.parser import TARGETS, Get, Literal, Operand, Operation, Operator, parse_operation, parse_query
from tests.stores.query.generator import COLUMNS, KEYS

Tree = Any

COMPARISONS = ("$eq", "$gt", "$gte", "$lt", "$lte")
A, B = {"$getField": "inputs.a"}, {"$getField": "inputs.b"}


def path(root: str, keys: list[str]) -> str:
    return ".".join([root, *(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
ODD_KEYS = st.sampled_from([key for key in KEYS if key]) | st.text(min_size=1, max_size=20)
NAMES = st.sampled_from(COLUMNS) | st.builds(
    path, st.sampled_from(["inputs", "output"]), st.lists(ODD_KEYS, max_size=5)
)
LEAVES = st.one_of(
    st.builds(lambda value: {"$literal": value}, SCALARS),
    st.builds(lambda name: {"$getField": name}, NAMES),
)


def print_operand(node: Operand) -> Tree:
    """Print a node in the JSON form that parses back to it."""
    match node:
        case Literal(value):
            return {"$literal": value}
        case Get(name):
            return {"$getField": name}
        case Operation(Operator.IN, (operand, *members)):
            return {"$in": [print_operand(operand), [print_operand(member) for member in members]]}
        case Operation(Operator.CONTAINS, (operand, substr), folded):
            arguments = {"input": print_operand(operand), "substr": print_operand(substr)}
            return {"$contains": arguments | ({"case_insensitive": True} if folded else {})}
        case Operation(to, (operand,)) if to in TARGETS:
            return {"$convert": {"input": print_operand(operand), "to": to.value}}
        case _:
            return {f"${node.operator}": [print_operand(operand) for operand in node.operands]}


def compared(name: str, left: Tree, right: Tree) -> Tree:
    """Return a valid comparison: it replaces literals that the other side refuses, and one of two columns."""
    sides = [fitted(left, right), fitted(right, left)]
    return {name: sides if name == "$eq" else [A if has_no_order(side) else side for side in sides]}


def membership(operand: Tree, members: list[Tree]) -> Tree:
    """Return a valid `$in`; a literal next to a column or a conversion becomes null."""
    for member in members:
        operand = fitted(operand, member)
    return {"$in": [operand, [fitted(member, operand) for member in members]]}


def fitted(operand: Tree, other: Tree) -> Tree:
    if is_typed(operand) and is_typed(other):
        return A
    is_operation = not {"$literal", "$getField"} & other.keys()
    is_strict = is_operation or is_typed(other) or other.get("$getField") == "inputs"
    return {"$literal": None} if "$literal" in operand and is_strict else operand


def is_typed(operand: Tree) -> bool:
    return "$convert" in operand or operand.get("$getField") in COLUMNS


def has_no_order(operand: Tree) -> bool:
    return "$literal" in operand and isinstance(operand["$literal"], bool | None)


def condition(operand: Tree) -> Tree:
    """Return the operand in a form that is valid as a condition."""
    if has_no_order(operand) and operand["$literal"] is not None:
        return operand
    is_never = "$literal" in operand or operand.get("$getField") in COLUMNS
    is_never |= operand.get("$convert", {}).get("to") in ("double", "string", "int")
    return {"$convert": {"input": operand, "to": "exists"}} if is_never else operand


def contained(operand: Tree, part: Tree, flag: dict[str, bool]) -> Tree:
    """Return a `$contains`; for a column, most of which refuse other texts, the part is empty."""
    part = {"$literal": ""} if operand.get("$getField") in COLUMNS else part
    return {"$contains": {"input": operand, "substr": part} | flag}


def converted(operand: Tree, to: str) -> Tree:
    """Return a conversion; to string it converts A instead of a column, which would be read as the column itself."""
    is_column = to == "string" and operand.get("$getField") in COLUMNS
    return {"$convert": {"input": A if is_column else operand, "to": to}}


def one_more(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    """Return a strategy for an operation over operands."""
    some = st.lists(inner, min_size=1, max_size=3)
    some_conditions = some.map(lambda terms: [condition(term) for term in terms])
    targets = st.sampled_from(["double", "string", "int", "bool", "exists"])
    texts = st.text(max_size=20).map(lambda text: {"$literal": text})
    return st.one_of(
        st.builds(lambda name, terms: {name: terms}, st.sampled_from(["$and", "$or"]), some_conditions),
        st.builds(lambda term: {"$not": [condition(term)]}, inner),
        st.builds(compared, st.sampled_from(COMPARISONS), inner, inner),
        st.builds(membership, inner, some | st.just([])),
        st.builds(converted, inner, targets),
        st.builds(contained, inner, texts, st.sampled_from([{}, {"case_insensitive": True}])),
    )


OPERANDS = st.recursive(LEAVES, one_more, max_leaves=12)
TREES = st.builds(lambda left, right: {"$and": [compared("$eq", left, right), condition(left)]}, OPERANDS, OPERANDS)


def typed(tree: Tree) -> Tree:
    """Return the tree with bare names, but with unchanged literals and field names."""
    if isinstance(tree, list):
        return [typed(member) for member in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        name.removeprefix("$"): inner if name in ("$literal", "$getField") else typed(inner)
        for name, inner in tree.items()
    }


def shown(node: Operand) -> str:
    """Return a node in full, which unlike `==` distinguishes 1 from 1.0 and from true."""
    return repr(node)


@given(TREES)
def test_typed_form_and_json_give_the_same_tree(tree: Tree) -> None:
    raw = parse_query({"$expr": tree}, CALL_FIELDS)

    assert shown(parse_operation(typed(tree), CALL_FIELDS, "query.expr")) == shown(raw)


@given(TREES)
def test_printed_query_parses_to_the_same_tree(tree: Tree) -> None:
    operation = parse_query({"$expr": tree}, CALL_FIELDS)

    printed = print_operand(operation)

    assert printed == tree
    assert shown(parse_query({"$expr": printed}, CALL_FIELDS)) == shown(operation)


@pytest.mark.parametrize("flag", [False, None])
def test_flag_that_is_off_is_not_printed(flag: bool | None) -> None:  # noqa: FBT001 -- what a client sent
    parts = {"input": {"$getField": "inputs"}, "substr": {"$literal": "x"}}

    operation = parse_query({"$expr": {"$contains": parts | {"case_insensitive": flag}}}, CALL_FIELDS)

    assert print_operand(operation) == {"$contains": parts}


@pytest.mark.parametrize(
    ("short", "printed"),
    [
        ({"$ne": [A, B]}, {"$not": [{"$eq": [A, B]}]}),
        ({"$isNull": A}, {"$eq": [A, {"$literal": None}]}),
        ({"$exists": A}, {"$convert": {"input": A, "to": "exists"}}),
        ({"$startsWith": [A, B]}, {"$startsWith": [A, B]}),
        ({"$convert": {"input": A, "to": "bool"}}, {"$convert": {"input": A, "to": "bool"}}),
        (
            {"$in": [{"$literal": "Running"}, [A, {"$getField": "status"}]]},
            {
                "$or": [
                    {"$in": [{"$literal": "Running"}, [A]]},
                    {"$eq": [{"$getField": "status"}, {"$literal": "running"}]},
                ]
            },
        ),
    ],
)
def test_short_form_equals_its_operation(short: Tree, printed: Tree) -> None:
    operation = parse_query({"$expr": short}, CALL_FIELDS)

    assert print_operand(operation) == printed
    assert parse_operation(typed(short), CALL_FIELDS, "query.expr") == operation
