"""The two forms of a query say the same, and what is printed of one parses to it."""

from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from stores.calls.fields import CALL_FIELDS
from stores.errors import BadInputError
from stores.query.expressions import Operand
from stores.query.parser import parse_operation, parse_query, print_operand
from tests.stores.query.generator import COLUMNS, KEYS

Tree = Any

COMPARISONS = ("$eq", "$gt", "$gte", "$lt", "$lte")


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


def one_more(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    """An operation over operands."""
    some = st.lists(inner, min_size=1, max_size=3)
    targets = st.sampled_from(["double", "string", "int", "bool", "exists"])
    texts = st.text(max_size=20).map(lambda text: {"$literal": text})
    return st.one_of(
        st.builds(lambda name, terms: {name: terms}, st.sampled_from(["$and", "$or"]), some),
        st.builds(lambda term: {"$not": [term]}, inner),
        st.builds(lambda name, sides: {name: list(sides)}, st.sampled_from(COMPARISONS), st.tuples(inner, inner)),
        st.builds(lambda operand, members: {"$in": [operand, members]}, inner, some | st.just([])),
        st.builds(lambda operand, to: {"$convert": {"input": operand, "to": to}}, inner, targets),
        st.builds(lambda operand, part: {"$contains": {"input": operand, "substr": part}}, inner, texts),
        st.builds(
            lambda operand, part: {"$contains": {"input": operand, "substr": part, "case_insensitive": True}},
            inner,
            texts,
        ),
    )


OPERANDS = st.recursive(LEAVES, one_more, max_leaves=12)
TREES = st.builds(lambda left, right: {"$and": [{"$eq": [left, right]}, left]}, OPERANDS, OPERANDS)


def typed(tree: Tree) -> Tree:
    """The same tree with bare names; what a literal or a field's name holds stays as it is."""
    if isinstance(tree, list):
        return [typed(member) for member in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        name.removeprefix("$"): inner if name in ("$literal", "$getField") else typed(inner)
        for name, inner in tree.items()
    }


def shown(node: Operand) -> str:
    """A node in full: unlike `==` it tells 1 from 1.0 and from true."""
    return repr(node)


def parsed(tree: Tree) -> Operand:
    """What a query of JSON says; one that compares a time with a text that is none is no query, and is passed over."""
    try:
        return parse_query({"$expr": tree}, CALL_FIELDS)
    except BadInputError as error:
        if "compares with times" in error.message:
            reject()
        raise


@given(TREES)
def test_the_typed_form_and_json_give_one_tree(tree: Tree) -> None:
    raw = parsed(tree)

    assert shown(parse_operation(typed(tree), CALL_FIELDS, "query.expr")) == shown(raw)


@given(TREES)
def test_what_is_printed_parses_to_the_same_tree(tree: Tree) -> None:
    operation = parsed(tree)

    printed = print_operand(operation)

    assert printed == tree
    assert shown(parse_query({"$expr": printed}, CALL_FIELDS)) == shown(operation)


@pytest.mark.parametrize("flag", [False, None])
def test_a_flag_that_is_off_is_not_printed(flag: bool | None) -> None:  # noqa: FBT001 -- what a client sent
    parts = {"input": {"$getField": "inputs"}, "substr": {"$literal": "x"}}

    operation = parse_query({"$expr": {"$contains": parts | {"case_insensitive": flag}}}, CALL_FIELDS)

    assert print_operand(operation) == {"$contains": parts}
