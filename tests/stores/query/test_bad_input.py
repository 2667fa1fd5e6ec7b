"""Tests that invalid queries over calls are refused with the place and a remedy, and that data may look dangerous."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS
from stores.errors import BadInputError
from stores.paging import PageRequest
from stores.query import Query
from stores.query.fields import MAX_PATH_KEYS, MAX_PATH_LENGTH
from stores.query.parser import MAX_LITERAL_LENGTH, parse_operation, parse_query
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import MAX_FOLDED_LENGTH
from tests.stores.calls.builders import PROJECT, call_id, end, start

Tree = Any

A = {"$getField": "inputs.a"}
ONE = {"$literal": 1}
FINE = {"$eq": [A, ONE]}
AT = "query.$expr"


def nested(levels: int, tree: Tree = FINE) -> Tree:
    """Return a tree below some negations."""
    for _ in range(levels):
        tree = {"$not": [tree]}
    return tree


def contains(**changes: Tree) -> Tree:
    return {"$contains": {"input": A, "substr": {"$literal": "x"}} | changes}


def literal(value: Tree) -> Tree:
    return {"$eq": [A, {"$literal": value}]}


def field(name: Tree) -> Tree:
    return {"$eq": [{"$getField": name}, ONE]}


def equal_to(name: str, value: Tree) -> Tree:
    return {"$eq": [{"$getField": name}, {"$literal": value}]}


def converted(to: str, value: Tree) -> Tree:
    return {"$eq": [{"$convert": {"input": A, "to": to}}, {"$literal": value}]}


def one_of(name: str, *values: Tree) -> Tree:
    return {"$in": [{"$getField": name}, [{"$literal": value} for value in values]]}


REFUSED = [
    (literal("weave-trace-internal:///p/object/a:b"), f"{AT}.$eq.1.$literal", r"is reserved for internal refs"),
    ({"$eqq": [A, ONE]}, AT, r"there is no operation '\$eqq'; did you mean \$eq"),
    ({"$where": "1"}, AT, r"there is no operation '\$where'; the operations are \$and, \$or, \$not, \$eq"),
    ({"eq": [A, ONE]}, AT, r"there is no operation 'eq'; did you mean \$eq"),
    ({"$$eq": [A, ONE]}, AT, r"there is no operation '\$\$eq'; did you mean \$eq"),
    ({"$regex": "x" * 500}, AT, r"there is no operation"),
    ({"$" + "e" * 100_000: []}, AT, r"there is no operation '\$e{99}'; the operations are"),
    ({"$and": [FINE, {"$gtt": [A, ONE]}]}, f"{AT}.$and.1", r"did you mean \$gt or \$gte\?"),
    ({}, AT, r"an object with one key, out of \$and, \$or"),
    (FINE | contains(), AT, r"an object with one key"),
    ([FINE], AT, r"an object with one key"),
    ("$eq", AT, r"an object with one key"),
    (None, AT, r"an object with one key"),
    (ONE, AT, r"must be one of \$and, \$or, \$not, \$eq, \$gt, \$gte, \$lt, \$lte, \$startsWith, \$ne, .*\$convert$"),
    (A, AT, r"must be one of"),
    ({"$convert": {"input": A, "to": "double"}}, f"{AT}.$convert.to", r"a double is never a condition; compare it"),
    ({"$convert": {"input": A, "to": "string"}}, f"{AT}.$convert.to", r"a string is never a condition; compare it"),
    # Arity
    ({"$eq": [A]}, f"{AT}.$eq", r"a list of 2 operands"),
    ({"$gt": [A, ONE, ONE]}, f"{AT}.$gt", r"a list of 2 operands"),
    ({"$lte": {"a": 1}}, f"{AT}.$lte", r"a list of 2 operands"),
    ({"$not": []}, f"{AT}.$not", r"a list of one operand"),
    ({"$not": [FINE, FINE]}, f"{AT}.$not", r"a list of one operand"),
    ({"$not": FINE}, f"{AT}.$not", r"a list of one operand"),
    ({"$and": []}, f"{AT}.$and", r"a list of one or more operands"),
    ({"$or": []}, f"{AT}.$or", r"a list of one or more operands"),
    ({"$and": FINE}, f"{AT}.$and", r"a list of one or more operands"),
    ({"$in": [A]}, f"{AT}.$in", r"a list of an operand and a list of operands"),
    ({"$in": [A, ONE]}, f"{AT}.$in", r"a list of an operand and a list of operands"),
    ({"$in": [A, [ONE], [ONE]]}, f"{AT}.$in", r"a list of an operand and a list of operands"),
    # Operands
    ({"$eq": [A, 1]}, f"{AT}.$eq.1", r"an object with one key"),
    ({"$eq": [A, "inputs.a"]}, f"{AT}.$eq.1", r"an object with one key"),
    ({"$eq": ["$inputs.a", ONE]}, f"{AT}.$eq.0", r"an object with one key"),
    ({"$in": [A, [1]]}, f"{AT}.$in.1.0", r"an object with one key"),
    (contains(substr="x"), f"{AT}.$contains.substr", r"an object with one key"),
    (contains(substr=ONE), f"{AT}.$contains.substr", r"a string, the text to look for"),
    (contains(substr={"$literal": None}), f"{AT}.$contains.substr", r"a string, the text to look for"),
    (contains(case_insensitive=1), f"{AT}.$contains.case_insensitive", r"true or false"),
    (contains(case_insensitive=0), f"{AT}.$contains.case_insensitive", r"true or false"),
    (contains(case_insensitive="yes"), f"{AT}.$contains.case_insensitive", r"true or false"),
    (contains(case_insensitive=True, substr=A), f"{AT}.$contains.substr", r"a literal if letter case is ignored"),
    (contains(options="i"), f"{AT}.$contains", r"unknown key 'options'; the keys are input, substr, case_insensitive"),
    ({"$contains": {"input": A}}, f"{AT}.$contains", r"substr is missing"),
    ({"$contains": [A, ONE]}, f"{AT}.$contains", r"an object with input and substr"),
    (
        contains(case_insensitive=True, substr={"$literal": "x" * (MAX_FOLDED_LENGTH + 1)}),
        f"{AT}.$contains.substr",
        r"more than 1,000 characters",
    ),
    ({"$eq": [{"$convert": A}, ONE]}, f"{AT}.$eq.0.$convert", r"input is missing"),
    ({"$eq": [{"$convert": "double"}, ONE]}, f"{AT}.$eq.0.$convert", r"an object with input and to"),
    (
        {"$eq": [{"$convert": {"input": A, "to": "float"}}, ONE]},
        f"{AT}.$eq.0.$convert.to",
        r"one of double, string, int, bool, exists",
    ),
    ({"$eq": [{"$convert": {"input": A, "to": ["int"]}}, ONE]}, f"{AT}.$eq.0.$convert.to", r"one of double"),
    (
        {"$eq": [{"$convert": {"input": A, "to": "int", "onError": 0}}, ONE]},
        f"{AT}.$eq.0.$convert",
        r"unknown key 'onError'; the keys are input, to",
    ),
    # Literals
    (literal({"$where": "1"}), f"{AT}.$eq.1.$literal", r"not a list or an object"),
    (literal({}), f"{AT}.$eq.1.$literal", r"not a list or an object"),
    (literal(["a"]), f"{AT}.$eq.1.$literal", r"not a list or an object"),
    (literal(math.nan), f"{AT}.$eq.1.$literal", r"must be finite"),
    (literal(math.inf), f"{AT}.$eq.1.$literal", r"must be finite"),
    (literal(-math.inf), f"{AT}.$eq.1.$literal", r"must be finite"),
    (literal("x" * 1_000_000), f"{AT}.$eq.1.$literal", r"has 1,000,000 characters; the limit is 100,000"),
    # Literals that a column never holds
    (
        equal_to("status", "failed"),
        f"{AT}.$eq.1",
        "status is never 'failed'; it is one of success, error, running, desc",
    ),
    (equal_to("summary.weave.status", ""), f"{AT}.$eq.1", "is one of success, error, running, descendant_error$"),
    ({"$ne": [{"$literal": "ok"}, {"$getField": "status"}]}, f"{AT}.$ne.0", "status is never 'ok'"),
    (equal_to("status", 1), f"{AT}.$eq.1", "status holds texts, never 1; write a text in quotes"),
    (equal_to("op_name", 5), f"{AT}.$eq.1", "op_name holds texts, never 5; write a text in quotes"),
    (equal_to("exception", value=True), f"{AT}.$eq.1", "exception holds texts, never true"),
    (
        equal_to("latency_ms", "1000"),
        f"{AT}.$eq.1",
        'latency_ms holds numbers, never "1000"; write a number without quotes',
    ),
    (equal_to("totalTokens", value=False), f"{AT}.$eq.1", "totalTokens holds numbers, never false"),
    (
        equal_to("started_at", value=True),
        f"{AT}.$eq.1",
        "started_at holds times, never true; write an ISO 8601 time or unix",
    ),
    ({"$gt": [{"$literal": "9"}, {"$getField": "latency_ms"}]}, f"{AT}.$gt.0", 'latency_ms holds numbers, never "9"'),
    (
        {"$startsWith": [{"$getField": "status"}, {"$literal": "ok"}]},
        f"{AT}.$startsWith.1",
        "never starts with 'ok'; it is",
    ),
    (
        contains(input={"$getField": "status"}, substr={"$literal": "rr!"}),
        f"{AT}.$contains.substr",
        "contains 'rr!'; it is",
    ),
    (
        contains(input={"$getField": "latency_ms"}, substr={"$literal": "abc"}),
        f"{AT}.$contains.substr",
        'latency_ms holds numbers, which never contain "abc"',
    ),
    (
        contains(input={"$getField": "ended_at"}, substr={"$literal": "Jan"}),
        f"{AT}.$contains.substr",
        'ended_at holds times, which never contain "Jan"',
    ),
    (
        {"$gte": [{"$getField": "started_at"}, {"$literal": 1769860802000}]},
        f"{AT}.$gte.1",
        "started_at holds times of the years 1 to 9999, never 1769860802000; write unix seconds, not milliseconds",
    ),
    ({"$lt": [{"$getField": "started_at"}, {"$literal": 1e305}]}, f"{AT}.$lt.1", r"never 1e\+305"),
    ({"$lt": [{"$literal": -(10**12)}, {"$getField": "endedAt"}]}, f"{AT}.$lt.0", "of the years 1 to 9999"),
    # Literals that a conversion never gives
    (converted("string", 1000), f"{AT}.$eq.1", "a conversion to string never gives 1000; write a text in quotes"),
    (converted("double", "5"), f"{AT}.$eq.1", 'conversion to double never gives "5"; write a number without quotes'),
    (converted("int", value=True), f"{AT}.$eq.1", "a conversion to int never gives true"),
    (converted("bool", "true"), f"{AT}.$eq.1", 'a conversion to bool never gives "true"; write true or false'),
    (converted("exists", 1), f"{AT}.$eq.1", "a conversion to exists never gives 1; write true or false"),
    (
        {"$eq": [{"$convert": {"input": {"$getField": "status"}, "to": "string"}}, {"$literal": "nonsense"}]},
        f"{AT}.$eq.1",
        "status is never 'nonsense'; it is one of success, error, running, descendant_error",
    ),
    ({"$convert": {"input": {"$getField": "status"}, "to": "string"}}, f"{AT}.$getField", "status is not a condition"),
    # Columns that are always a list or an object
    (
        equal_to("input_refs", "weave:///acme/chat/object/x:v0"),
        f"{AT}.$eq.1",
        "input_refs .*; name refs in the filter's inputRefs, or search their text with contains",
    ),
    (equal_to("outputRefs", 5), f"{AT}.$eq.1", "outputRefs is a list or an object, never 5; .*'s outputRefs"),
    (one_of("input_refs", None, "weave:"), f"{AT}.$in.1.1", "input_refs is a list or an object"),
    ({"$startsWith": [{"$getField": "input_refs"}, {"$literal": "weave:"}]}, f"{AT}.$startsWith.1", 'never "weave:"'),
    (
        equal_to("inputs", "hello"),
        f"{AT}.$eq.1",
        "inputs .*, never .*; compare a value in it, such as inputs.name, or search its text with contains",
    ),
    ({"$gt": [{"$literal": 1}, {"$getField": "summary"}]}, f"{AT}.$gt.0", "never 1; .* such as summary.name"),
    # Operands that never meet
    (
        {"$eq": [{"$getField": "latency_ms"}, {"$getField": "op_name"}]},
        f"{AT}.$eq.0",
        "compares a text with a number or a time, which is never true; convert one of them",
    ),
    (
        {"$lt": [{"$getField": "display_name"}, {"$getField": "ended_at"}]},
        f"{AT}.$lt.0",
        "a text with a number or a time",
    ),
    (
        {"$in": [{"$getField": "status"}, [A, {"$convert": {"input": A, "to": "double"}}]]},
        f"{AT}.$in.1.1",
        "a text with a number or a time",
    ),
    ({"$eq": [FINE, ONE]}, f"{AT}.$eq.1", "a condition never gives 1; write true or false"),
    ({"$in": [{"$literal": "x"}, [A, nested(1)]]}, f"{AT}.$in.0", 'a condition never gives "x"'),
    # Comparisons and terms that are never true
    ({"$gte": [{"$getField": "status"}, {"$literal": "ok"}]}, f"{AT}.$gte.1", "status is never 'ok'; it is one of"),
    ({"$lt": [{"$literal": "f"}, {"$getField": "status"}]}, f"{AT}.$lt.0", "status is never 'f'; it is one of"),
    (
        {"$lt": [{"$getField": "latency_ms"}, {"$literal": None}]},
        f"{AT}.$lt.1",
        "has no order; .* use isNull or exists",
    ),
    ({"$gt": [{"$literal": True}, A]}, f"{AT}.$gt.0", "has no order; compare with a number or a string"),
    ({"$and": [FINE, {"$literal": "x"}]}, f"{AT}.$and.1.$literal", "is not a condition; write a condition"),
    ({"$or": [{"$literal": None}]}, f"{AT}.$or.0.$literal", "is not a condition; write a condition"),
    ({"$not": [{"$getField": "status"}]}, f"{AT}.$not.0.$getField", "status is not a condition; compare it"),
    (
        {"$or": [FINE, {"$convert": {"input": A, "to": "int"}}]},
        f"{AT}.$or.1.$convert.to",
        "an? int is never a condition",
    ),
    (one_of("status", "error", "broken"), f"{AT}.$in.1.1", "status is never 'broken'"),
    (one_of("latency_ms", 1, "2"), f"{AT}.$in.1.1", 'latency_ms holds numbers, never "2"'),
    ({"$in": [{"$literal": 5}, [A, {"$getField": "op_name"}]]}, f"{AT}.$in.0", "op_name holds texts, never 5"),
    ({"$not": [{"$in": [{"$getField": "ended_at"}, [{"$literal": False}]]}]}, f"{AT}.$not.0.$in.1.0", "holds times"),
    ({"$startsWith": [A, ONE]}, f"{AT}.$startsWith.1", "must be a string: startsWith compares strings"),
    ({"$startsWith": [{"$literal": None}, A]}, f"{AT}.$startsWith.0", "must be a string"),
    (
        {"$startsWith": [{"$getField": "latency_ms"}, {"$literal": "1"}]},
        f"{AT}.$startsWith.1",
        "latency_ms holds numbers, not texts; convert it to string before startsWith",
    ),
    ({"$startsWith": [A]}, f"{AT}.$startsWith", r"a list of 2 operands"),
    ({"$isNull": [A]}, f"{AT}.$isNull", r"an object with one key"),
    ({"$exists": "inputs.a"}, f"{AT}.$exists", r"an object with one key"),
    # Fields
    (field("op_nam"), f"{AT}.$eq.0.$getField", r"there is no field 'op_nam'; did you mean op_name"),
    (field("input.a"), f"{AT}.$eq.0.$getField", r"there is no field 'input.a'; did you mean inputs"),
    (field("op_name.a"), f"{AT}.$eq.0.$getField", r"there is no field 'op_name.a'; did you mean op_name"),
    (field(""), f"{AT}.$eq.0.$getField", r"there is no field ''; the fields are id, project_id, op_name"),
    (field("$$ROOT"), f"{AT}.$eq.0.$getField", r"there is no field '\$\$ROOT'; the fields are"),
    (field("$inputs.a"), f"{AT}.$eq.0.$getField", r"there is no field '\$inputs.a'; did you mean inputs"),
    (field("json.inputs"), f"{AT}.$eq.0.$getField", r"there is no field 'json.inputs'"),
    (field("_id"), f"{AT}.$eq.0.$getField", r"there is no field '_id'; did you mean"),
    (field("visible"), f"{AT}.$eq.0.$getField", r"there is no field 'visible'"),
    (field("storage_size_bytes"), f"{AT}.$eq.0.$getField", r"there is no field"),
    (field("inputs\0"), f"{AT}.$eq.0.$getField", r"there is no field 'inputs\\x00'"),
    (field(["inputs", "a"]), f"{AT}.$eq.0.$getField", r"the name of a field, such as started_at"),
    (field(None), f"{AT}.$eq.0.$getField", r"the name of a field"),
    (field("inputs."), f"{AT}.$eq.0.$getField", r"'inputs\.' has an empty key; write a dot inside a key as \\\."),
    (field("inputs.a."), f"{AT}.$eq.0.$getField", r"has an empty key"),
    (field("inputs..a"), f"{AT}.$eq.0.$getField", r"has an empty key"),
    (field(".inputs"), f"{AT}.$eq.0.$getField", r"there is no field '.inputs'; did you mean inputs"),
    (field("summary.weave."), f"{AT}.$eq.0.$getField", r"has an empty key"),
    (field("inputs" + ".a" * (MAX_PATH_KEYS + 1)), f"{AT}.$eq.0.$getField", r"the path has 51 keys inside the field"),
    (
        field("inputs." + "a" * MAX_PATH_LENGTH),
        f"{AT}.$eq.0.$getField",
        r"has 1,007 characters; the limit is 1,000",
    ),
    # Sizes
    ({"$or": [FINE] * 10_000}, f"{AT}.$or.2000.$eq.0.$getField", r"names fields more than 2,000 times"),
    (
        {"$or": [field("inputs" + ".a" * MAX_PATH_KEYS)] * 101},
        f"{AT}.$or.100.$eq.0.$getField",
        r"the paths of the query's fields have more than 5,000 keys",
    ),
    ({"$in": [A, [ONE] * 10_000]}, f"{AT}.$in.1.9998", r"more than 10,000 operations, fields and literals"),
    (nested(200), AT + ".$not.0" * 32, r"nests deeper than 32 levels"),
    (nested(100_000), AT + ".$not.0" * 32, r"nests deeper than 32 levels"),
]


@pytest.mark.parametrize(("tree", "argument", "message"), REFUSED, ids=[row[2][:40] for row in REFUSED])
def test_invalid_query_is_refused_with_its_path(tree: Tree, argument: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        parse_query({"$expr": tree}, CALL_FIELDS)

    assert refused.value.argument == argument
    assert len(refused.value.message) < 700


@pytest.mark.parametrize(
    "tree",
    [
        equal_to("latency_ms", None),
        equal_to("status", None),
        equal_to("started_at", 1.5),
        equal_to("wb_run_step", 2**70),
        equal_to("status", "SUCCESS"),
        equal_to("inputs.status", "failed"),
        equal_to("summary.usage", value=True),
        equal_to("inputs", None),
        equal_to("output", "hello"),
        equal_to("inputs.a", "hello"),
        equal_to("input_refs.0", "weave:///acme/chat/object/x:v0"),
        {"$gt": [{"$getField": "status"}, {"$literal": "Error"}]},
        {"$eq": [{"$getField": "ended_at"}, {"$getField": "latency_ms"}]},
        {"$eq": [{"$getField": "display_name"}, {"$getField": "latency_ms"}]},
        {"$eq": [{"$getField": "op_name"}, {"$getField": "inputs.op"}]},
        {"$eq": [FINE, {"$literal": False}]},
        {"$eq": [FINE, {"$literal": None}]},
        {"$startsWith": [{"$getField": "status"}, {"$literal": "desc"}]},
        {"$contains": {"input": {"$getField": "latency_ms"}, "substr": {"$literal": "1"}}},
    ],
    ids=str,
)
def test_literal_possible_for_its_column_is_accepted(tree: Tree) -> None:
    parse_query({"$expr": tree}, CALL_FIELDS)


@pytest.mark.parametrize("query", [None, [], {}, FINE, {"$expr": FINE, "limit": 1}, {"expr": FINE}, "$expr"])
def test_query_is_an_object_with_the_key_expr(query: Tree) -> None:
    with pytest.raises(BadInputError, match=r"an object with the one key \$expr") as refused:
        parse_query(query, CALL_FIELDS, "query.json")

    assert refused.value.argument == "query.json"


@pytest.mark.parametrize("name", ["$eq", "$literal", "Eq", "get_field"])
def test_typed_form_accepts_bare_names_only(name: str) -> None:
    with pytest.raises(BadInputError, match="there is no operation") as refused:
        parse_operation({name: []}, CALL_FIELDS, "query.expr")

    assert refused.value.argument == "query.expr"
    assert "$and" not in refused.value.message


@pytest.mark.parametrize("comparison", ["$eq", "$gt"])
@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "$now"])
def test_time_compared_with_an_invalid_time_is_refused(comparison: str, text: str) -> None:
    query = Query({"$expr": {comparison: [{"$getField": "startedAt"}, {"$literal": text}]}})
    among = Query({"in": [{"getField": "ended_at"}, [{"literal": 1}, {"literal": text}]]}, typed=True)

    with pytest.raises(BadInputError, match=r"startedAt is a time: .* is not an ISO 8601 time") as refused:
        query.match(CALL_FIELDS)
    with pytest.raises(BadInputError, match=r"ended_at is a time: .* is not an ISO 8601 time") as one_of:
        among.match(CALL_FIELDS)

    assert refused.value.argument == f"query.json.$expr.{comparison}.1"
    assert one_of.value.argument == "query.expr.in.values.1"


@pytest.mark.parametrize("path", ["inputs.", "inputs..a", "inputs" + ".a" * 51, "$inputs", "inputs." + "9" * 5_000])
def test_sort_by_an_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(BadInputError) as refused:
        compile_sort([SortBy("id"), SortBy(path)], CALL_FIELDS)

    assert refused.value.argument == "sort_by.1.field"


def in_each_other(levels: int, tree: Tree = A) -> Tree:
    for _ in range(levels):
        tree = {"$in": [{"$literal": True}, [tree]]}
    return tree


def operand_of(levels: int, operation: Callable[[Tree], Tree]) -> Tree:
    """Return an operation that is its own operand, some levels deep."""
    tree = A
    for _ in range(levels):
        tree = operation(tree)
    return {"$gt": [tree, A]}


INDEXES = {"$getField": "inputs" + ".0" * MAX_PATH_KEYS}
DEEPEST = [
    pytest.param(nested(29), id="not"),
    pytest.param(in_each_other(15), id="in"),
    pytest.param(operand_of(29, lambda tree: {"$gt": [tree, A]}), id="comparisons of comparisons"),
    pytest.param(operand_of(29, lambda tree: {"$eq": [A, tree]}), id="equalities of equalities"),
    pytest.param(operand_of(29, lambda tree: {"$startsWith": [tree, A]}), id="prefixes of prefixes"),
    pytest.param(operand_of(14, lambda tree: {"$gt": [{"$not": [tree]}, A]}), id="comparisons of negations"),
    pytest.param(operand_of(29, lambda tree: {"$convert": {"input": tree, "to": "int"}}), id="conversions to int"),
    pytest.param(operand_of(29, lambda tree: {"$convert": {"input": tree, "to": "bool"}}), id="conversions to bool"),
    pytest.param(operand_of(29, lambda tree: {"$convert": {"input": tree, "to": "string"}}), id="conversions to texts"),
    pytest.param(operand_of(15, lambda tree: contains(input=tree)), id="texts in texts"),
    pytest.param(operand_of(24, lambda tree: {"$in": [tree, [A]]}), id="in of in"),
    pytest.param(nested(29, {"$gt": [INDEXES, A]}), id="a path of indexes under negations"),
    pytest.param({"$gt": [INDEXES, A]}, id="a path of indexes"),
    pytest.param({"$gt": [{"$getField": "inputs" + ".0.a" * (MAX_PATH_KEYS // 2)}, A]}, id="a path of both"),
    pytest.param({"$gt": [{"$getField": "inputs" + ".a" * MAX_PATH_KEYS}, A]}, id="a path of keys"),
    pytest.param({"$or": [FINE] * 2_000}, id="thousands of terms"),
    pytest.param({"$in": [A, [{"$literal": number} for number in range(9_000)]]}, id="thousands of members"),
    pytest.param({"$in": [{"$literal": "x" * MAX_LITERAL_LENGTH}, [A] * 1_000]}, id="a long literal in many fields"),
    pytest.param({"$in": [{"$in": [A, [ONE] * 1_000]}, [A] * 1_000]}, id="thousands in thousands"),
    pytest.param(contains(case_insensitive=True, substr={"$literal": "." * MAX_FOLDED_LENGTH}), id="a folded text"),
    pytest.param(contains(case_insensitive=True, substr={"$literal": "🧵" * MAX_FOLDED_LENGTH}), id="a long wide text"),
    pytest.param(contains(substr={"$literal": "." * MAX_LITERAL_LENGTH}), id="a long text"),
    pytest.param(field("inputs." + "9" * 900), id="a huge index"),
]


@pytest.mark.parametrize("tree", DEEPEST)
async def test_query_within_the_limits_is_accepted_by_mongodb(calls: CallsStore, tree: Tree) -> None:
    await calls.write([start(1)])
    query, sort_by = Query({"$expr": tree}), [SortBy("op_name"), SortBy(INDEXES["$getField"])]

    page = await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=sort_by, query=query)

    assert len(page.rows) == await calls.count(PROJECT, query=query) <= 1


@pytest.mark.parametrize(
    "tree",
    [
        in_each_other(29),
        nested(20, in_each_other(5, {"$gt": [INDEXES, A]})),
        {"$gt": [in_each_other(10, {"$gt": [INDEXES, A]}), A]},
    ],
)
def test_query_too_deep_for_mongodb_is_refused_first(tree: Tree) -> None:
    with pytest.raises(BadInputError, match="nests too deeply; use fewer nested operations"):
        Query({"$expr": tree}).match(CALL_FIELDS)


HOSTILE = ["$inputs.secret", "$$ROOT", "$where", '{"$where": "1"}', ".*", "a.b", "^a", "[", "\\", "\0", "a\0b", "$"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("folded", [False, True])
async def test_text_literal_matches_only_itself(calls: CallsStore, text: str, *, folded: bool) -> None:
    value = {"v": text, text: "key"}
    await calls.write([start(1, inputs=value | {"secret": 1}), start(2, inputs={"v": "aab", "secret": text}), end(1)])
    key = text.replace("\\", "\\\\").replace(".", "\\.")
    literal_text: Tree = {"$literal": text}
    here: Tree = {"$getField": "inputs.v"}

    for tree in (
        {"$eq": [here, literal_text]},
        {"$in": [here, [literal_text, literal_text]]},
        {"$eq": [{"$convert": {"input": here, "to": "string"}}, literal_text]},
        {"$contains": {"input": here, "substr": literal_text, "case_insensitive": folded}},
        {"$eq": [{"$getField": f"inputs.{key}"}, {"$literal": "key"}]},
        {
            "$and": [
                {"$gte": [here, literal_text]},
                {"$lte": [literal_text, {"$getField": "inputs.v"}]},
                {"$lte": [here, literal_text]},
            ]
        },
    ):
        page = await calls.page(PROJECT, PageRequest(), {"id"}, query=Query({"$expr": tree}))
        assert [row["id"] for row in page.rows] == [call_id(1)], tree


@pytest.mark.parametrize(
    ("text", "part", "is_found"),
    [
        ("straße", "STRASSE", False),
        ("straße", "STRA\u1e9eE", True),
        ("İstanbul", "istanbul", False),
        ("İstanbul", "İSTANBUL", True),
        ("\u0131", "I", False),
        ("\u212aelvin", "kELVIN", True),
        ("mi\u017fs", "MISS", True),
        ("ΟΔΟΣ", "οδος", True),
        ("ΟΔΟΣ", "οδο\u03c3", True),
        ("É", "e\u0301", False),
        ("𐐀", "𐐨", True),
        ("ǆ", "ǅ", True),
    ],
)
async def test_case_folding_maps_one_character_to_one(
    calls: CallsStore, text: str, part: str, *, is_found: bool
) -> None:
    await calls.write([start(1, inputs={"a": f"<{text}>"})])

    query = Query({"$expr": contains(substr={"$literal": part}, case_insensitive=True)})

    assert await calls.count(PROJECT, query=query) == is_found
