"""Each feature separately, compared with graphql-core, so that a failure names the feature."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from inspect import isawaitable
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import ExecutionResult, GraphQLError, parse, subscribe, validate
from strawberry.utils.str_converters import to_snake_case

from graphql_schema.execution import CompilingExecutor, executor
from graphql_schema.fields.connections import Listing
from graphql_schema.schema import LoomSchema
from stores.concurrency import time_slices
from stores.paging import Page
from tests.graphql_schema.execution.comparing import Outcome, difference, outcome, outcomes, seen, shape
from tests.graphql_schema.execution.example_data import PAGES, Breaking, Flowing, Later, Number, Row, Text
from tests.graphql_schema.execution.example_schema import (
    CALLS,
    Bird,
    Cat,
    Color,
    Dog,
    Fish,
    Level,
    Raising,
    Thing,
    build_example,
)

LEAVES = {
    "id": "a",
    "text": "text",
    "count": 5,
    "ratio": 0.5,
    "flag": True,
    "big": 2**60,
    "at": 1_700_000_000_000_000,
    "json": '{"a":  1}',
    "color": "red",
    "level": 1,
    "words": ["a", "b"],
    "grid": [[1], []],
    "colors": ["red", "blue"],
    "times": [0, None],
}
LEAF = "leafList { %s }"
TWO = [{"id": "0"}, {"id": "1"}]


def animal(kind: type, **values: object) -> object:
    made: object = object.__new__(kind)
    vars(made).update(values)
    return made


def leaves(**values: object) -> dict[str, Any]:
    """Return a root with three leaves; the second has the given values, the others are valid."""
    return {"leaf_list": [LEAVES, LEAVES | values, LEAVES]}


def nodes(*rows: object) -> dict[str, Any]:
    return {"nodes": list(rows)}


def page(*rows: dict[str, Any]) -> Listing:
    async def count(limit: int | None) -> int:
        await asyncio.sleep(0)
        return len(rows) if limit is None else min(len(rows), limit)

    return Listing(Page(list(rows), has_next=True, has_previous=False, order=PAGES, scope=b"s"), count)


async def same(
    ours: LoomSchema, stock: LoomSchema, query: str, root: Callable[[], object], **variables: object
) -> Outcome:
    """Run a query three times by our executor and check that each outcome equals that of graphql-core."""
    document = parse(query)
    assert not validate(ours._schema, document)
    for _ in range(3):
        mine, theirs = await outcomes(ours, stock, document, root, variables)
        assert difference(mine, theirs) is None, difference(mine, theirs)
    return theirs


@pytest.mark.parametrize("field", [*LEAVES, "__typename"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        "red",
        "RED",
        "text",
        Text("red"),
        b"bytes",
        1,
        0,
        7,
        True,
        Number(3),
        2**31,
        -(2**31) - 1,
        2**63,
        2**80,
        1.0,
        1.5,
        float("nan"),
        float("inf"),
        Color.RED,
        Level.LOW,
        [],
        [None],
        [[None]],
        ["a", 1],
        [["a"]],
        ("a", "b"),
        {"a": 1},
        Row(a=1),
        ValueError("given"),
        GraphQLError("given", extensions={"code": "X"}),
        Raising(ValueError("not raised by a dict")),
        Later("late"),
        Later(Raising(ValueError("raised late"))),
    ],
    ids=repr,
)
async def test_scalar_field_with_a_value_of_any_type(
    ours: LoomSchema, stock: LoomSchema, field: str, value: object
) -> None:
    found = await same(ours, stock, f"{{ leafList {{ {field} }} }}", lambda: leaves(**{field: value}))
    assert found.data is not None


@pytest.mark.parametrize(
    "source",
    [
        lambda: dict(LEAVES),
        lambda: Row(LEAVES),
        lambda: Thing(LEAVES),
        lambda: SimpleNamespace(**LEAVES),
        lambda: Thing({}),
        lambda: Thing(LEAVES | {"maybe_text": Raising(ValueError("raised"))}),
        lambda: Thing(LEAVES | {"text": Raising(GraphQLError("raised"))}),
        lambda: None,
        lambda: "text",
        lambda: 5,
        lambda: Later(LEAVES),
        lambda: Later(None),
        lambda: Later(Raising(ValueError("raised late"))),
        lambda: ValueError("given"),
    ],
)
@pytest.mark.parametrize("name", ["leafList", "documents: drawn"])
async def test_list_with_a_source_of_any_type(
    ours: LoomSchema, stock: LoomSchema, source: Callable[[], object], name: str
) -> None:
    def root() -> dict[str, Any]:
        rows = [LEAVES, source(), LEAVES, source()]
        return {"leaf_list": rows, "drawn": rows}

    found = await same(ours, stock, f"{{ {name} {{ id text maybeText at json color }} }}", root)
    assert found.data is not None


@pytest.mark.parametrize(
    "rows",
    [
        list,
        lambda: TWO,
        lambda: tuple(TWO),
        lambda: iter(TWO),
        lambda: (row for row in TWO),
        lambda: Breaking(TWO),
        lambda: Flowing(TWO, breaks=False),
        lambda: Flowing(TWO, breaks=True),
        lambda: [Later(row) for row in TWO],
        lambda: Later(TWO),
        lambda: Later(Flowing(TWO, breaks=True)),
        lambda: [{"id": None}, Later({"id": "1"})],
        lambda: [Later({"id": "1"}), {"id": None}],
        lambda: TWO * 2000,
        lambda: "text",
        lambda: {"id": "a"},
        lambda: 5,
        lambda: None,
    ],
)
@pytest.mark.parametrize("name", ["nodes", "maybeNodes", "optionalNodes", "laterNodes", "streamed", "generated"])
async def test_list_field_with_any_iterable(
    ours: LoomSchema, stock: LoomSchema, rows: Callable[[], object], name: str
) -> None:
    names = ["nodes", "maybe_nodes", "optional_nodes", "later_nodes", "streamed", "generated"]
    found = await same(ours, stock, f"{{ name rows: {name} {{ id name }} }}", lambda: {n: rows() for n in names})
    assert found.data[0] in ("dict", "NoneType")


RESOLVERS = {
    "bySelf": "text",
    "byParent(times: 3, loud: true)": 4,
    "byRoot(color: GREEN)": "blue",
    'byInfo(suffix: "!")': "text",
    "bySpan(span: {start: 1}, spans: [{start: 2, end: null, colors: []}])": 5,
    'byChoice(choice: {byWords: ["a"]})': 0.5,
    'byLists(colors: [RED, AZURE], words: ["a", null])': [1, 2],
    'byScalars(at: "2026-01-31T12:00:00Z", big: 7, json: {a: [1]}, level: HIGH)': 2**40,
    'changesItsArgument(words: ["a"])': None,
    "later(ticks: 2)": "late",
    "mustLater": 5,
    "sometimes": 7,
    "generated(first: 1) { id }": TWO,
    "drawn { text }": [LEAVES, None],
    "streamed { id }": TWO,
    "shouted": "loud",
    "guarded": "open",
}


@pytest.mark.parametrize("field", RESOLVERS)
@pytest.mark.parametrize(
    "fault",
    [
        "none",
        None,
        Raising(ValueError("raised")),
        Raising(GraphQLError("raised", extensions={"code": "X"})),
        ValueError("given"),
        Later(None),
        5,
        "secret",
    ],
    ids=repr,
)
async def test_resolver_of_each_kind(ours: LoomSchema, stock: LoomSchema, field: str, fault: object) -> None:
    name = to_snake_case(re.split(r"\W", field)[0])
    right = {name: RESOLVERS[field], "id": "a"}
    odd = right if fault == "none" else right | {name: fault}
    root = nodes(right, odd, Thing(odd), right)
    found = await same(
        ours,
        stock,
        f"{{ maybeNodes {{ id {field} name }} nodes {{ {field} id }} }}",
        lambda: root | {"maybe_nodes": root["nodes"]},
    )
    assert len(found.calls) >= 4


ARGUMENTS = """query ($times: Int! = 4, $loud: Boolean, $color: Color, $span: Span, $words: [String!]!, $id: ID!) {
  nodes {
    byParent(times: $times, loud: $loud)
    byRoot(color: $color)
    bySpan(span: $span)
    changesItsArgument(words: $words)
    byChoice(choice: {byId: $id})
  }
}"""


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"times": 9, "loud": None, "color": "AZURE", "span": {"start": 1}},
        {"color": None, "span": None},
        {"span": {"start": 1, "end": None, "colors": ["GREEN"]}},
    ],
)
async def test_variables_as_arguments(ours: LoomSchema, stock: LoomSchema, variables: dict[str, Any]) -> None:
    row = {"by_parent": 1, "by_root": "red", "by_span": 1, "changes_its_argument": 1, "by_choice": 1.5}
    found = await same(ours, stock, ARGUMENTS, lambda: nodes(row, row, row), words=["a"], id="x", **variables)
    assert len(found.calls) == 15
    # Each row has its own list, which its resolver may change.
    assert [call for call in found.calls if call[0] == "changes_its_argument"] == [("changes_its_argument", 2)] * 3


FLAGS = """query ($yes: Boolean!, $no: Boolean = false) {
  nodes {
    id @include(if: $yes)
    name @skip(if: $no)
    ... @include(if: $yes) { bySelf }
    ...Names @skip(if: $yes)
    nodes @skip(if: $no) { id }
    nodes @include(if: $yes) { name }
  }
}
fragment Names on Node { other: name __typename }"""


async def test_document_run_with_other_variables_selects_other_fields(ours: LoomSchema, stock: LoomSchema) -> None:
    row = {"id": "a", "name": "n", "by_self": "s", "nodes": [{"id": "b", "name": "m"}] * 2}
    document = parse(FLAGS)
    names = set()
    for _ in range(2):
        for variables in ({"yes": True}, {"yes": False}, {"yes": True, "no": True}, {"yes": False, "no": True}):
            mine, theirs = await outcomes(ours, stock, document, lambda: nodes(row, row, row), variables)
            assert difference(mine, theirs) is None
            names.add(str(mine.data))
    assert len(names) == 4


async def test_document_run_with_other_arguments_passes_them(ours: LoomSchema, stock: LoomSchema) -> None:
    document = parse("query ($n: Int!) { nodes { byParent(times: $n) } }")
    for n in (1, 2, 3, 1):
        mine, theirs = await outcomes(
            ours, stock, document, lambda: nodes({"by_parent": 1}, {"by_parent": 2}), {"n": n}
        )
        assert mine == theirs
        assert mine.calls == [("by_parent", n, None, True)] * 2


async def test_one_document_over_many_sources_concurrently(ours: LoomSchema, stock: LoomSchema) -> None:
    document = parse("query ($n: Int!) { nodes { id later(ticks: $n) nodes { id mustLater } } }")

    def root(n: int) -> dict[str, Any]:
        inner = [{"id": f"{n}.{row}", "must_later": None if n == 3 else row} for row in range(n)]
        return nodes(*({"id": str(n), "later": f"late {n}", "nodes": inner} for _ in range(3)))

    at_once = await asyncio.gather(*(outcome(ours, document, root(n), {"n": n}) for n in range(8)))
    for n, found in enumerate(at_once):
        assert difference(found, await outcome(stock, document, root(n), {"n": n})) is None
    assert len({str(found.data) for found in at_once}) == 8


async def test_one_document_in_two_schemas(ours: LoomSchema, stock: LoomSchema) -> None:
    document = parse("{ nodes { id byParent named { name } } }")
    root = nodes(*[{"id": "a", "by_parent": 1, "named": animal(Dog, name="Rex")}] * 3)
    other = build_example(CompilingExecutor)
    expected = await outcome(stock, document, root)
    for schema in (ours, other, ours, other):
        assert difference(await outcome(schema, document, root), expected) is None


async def test_merged_selections_aliases_and_fragments(ours: LoomSchema, stock: LoomSchema) -> None:
    query = """{
      nodes { z: id ...A nodes { name } a: name ... on Node { z: id nodes { id ...B } } }
      nodes { __typename t: __typename }
    }
    fragment A on Node { nodes { leaves { text } } name }
    fragment B on Node { leaves { count text at } name }"""
    inner = [{"id": "b", "name": "m", "leaves": LEAVES}, {"id": "c", "leaves": LEAVES}, {"id": "d", "leaves": {}}]
    found = await same(ours, stock, query, lambda: nodes(*[{"id": "a", "name": "n", "nodes": inner}] * 2))
    assert len(found.errors) == 1


async def test_unions_and_interfaces(ours: LoomSchema, stock: LoomSchema) -> None:
    query = """{
      maybePets {
        __typename
        ... on Named { name title(prefix: "Mr.") }
        ... on Cat { lives purr kittens { name lives } }
        ... on Dog { barks }
        ... on Fish { name depth }
      }
      namedList { name nick ... on Cat { kittens { nick } } }
      shapes { kind area ... on Square { side inner { kind } } ... on Circle { radius } }
      figures { ... on Square { side } ... on Circle { radius } }
      circles { radius kind }
    }"""
    kitten = animal(Cat, name="Kit", nick=None, lives=9)
    cat = animal(Cat, name="Tom", nick="T", lives="many", kittens=[kitten, kitten], title=None, purr="rr")
    dog = animal(Dog, name="Rex", nick=None, barks=True, title="Sir")
    fish = animal(Fish, name="Nemo", depth=2)
    circle = {"kind": "Circle", "radius": 1.5, "area": 2}
    square = {"kind": "Square", "side": 2, "area": float("nan"), "inner": circle}

    def root() -> dict[str, Any]:
        return {
            "maybe_pets": [cat, dog, fish, None, {"name": "a row"}, kitten, Later(dog), cat],
            "named_list": [cat, dog, cat, dog],
            "shapes": [circle, square, {"kind": "Line"}, {}, square, Thing(circle), circle],
            "figures": [circle, square, circle],
            "circles": [circle, square, circle, None],
        }

    found = await same(ours, stock, query, root)
    assert len(found.errors) >= 6


async def test_short_lists_of_a_union_in_many_rows(
    ours: LoomSchema, stock: LoomSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = """query ($sings: Boolean!) { nodes { maybePets {
        __typename
        ... on Named { name } ... on Dog { barks } ... on Fish { depth }
        ... on Bird { name wings song @include(if: $sings) }
    } } }"""
    dog = animal(Dog, name="Rex", nick=None, barks=True, title="Sir")
    fish = animal(Fish, name="Nemo", depth=2.5)
    bird = animal(Bird, name="Tux", wings=2, song="la")
    ill = animal(Bird, name="Ill", wings=None, song=Raising(ValueError("hoarse")))
    lists: list[list[object]] = [
        *([fish, bird], [bird, fish, fish], [fish, ill, bird], [ill], [fish, dog, bird], [bird, bird, None], []),
        *([{"name": "a row"}, fish], [fish, Later(bird)]),
    ]
    with_lists: list[int] = []
    make = executor.RowList.complete

    def complete(rows: executor.RowList, *given: Any) -> Any:
        with_lists.append(1)
        return make(rows, *given)

    monkeypatch.setattr(executor.RowList, "complete", complete)

    mixed = nodes(*({"id": "a", "maybe_pets": each} for each in lists * 2))
    for sings in (True, False):
        found = await same(ours, stock, query, lambda: mixed, sings=sings)
        assert found.errors
    with_lists.clear()
    plain = nodes(*({"id": "a", "maybe_pets": [bird, fish]} for _ in range(100)))
    await same(ours, stock, query, lambda: plain, sings=False)
    assert len(with_lists) < 10, "only unusual lists cost more than their items"


@pytest.mark.parametrize("turn", [0, 1e9])
async def test_connections(ours: LoomSchema, stock: LoomSchema, monkeypatch: pytest.MonkeyPatch, turn: float) -> None:
    monkeypatch.setattr(time_slices, "SLICE_SECONDS", turn)
    query = """{
      page(first: 5) {
        edges { cursor node { id name payload(path: "a.0") text: payload later } }
        nodes { id payload }
        again: nodes { nodes { id } }
        totalCount
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }"""

    def root() -> dict[str, Any]:
        payload = {"payload": '{"a":  [1, 2]}'}
        rows: list[dict[str, Any]] = [{"id": str(n), "json": payload, "nodes": TWO} for n in range(4)]
        rows[1]["later"] = Raising(ValueError("raised late"))
        rows[2]["json"] = {"payload": 5}
        rows[3]["name"] = b"bytes"
        return {"page": page(*rows)}

    found = await same(ours, stock, query, root)
    assert len(found.errors) >= 3


@pytest.mark.parametrize("path", ["", "a", "a.1", "a..b", "x.y"])
async def test_json_field_with_a_path(ours: LoomSchema, stock: LoomSchema, path: str) -> None:
    rows = [{"json": {"payload": text}} for text in ('{"a":  [1, {"b": null}]}', "[]", "null", None, "{broken", 5)]
    query = "query ($path: String) { maybeNodes { payload(path: $path) } }"
    found = await same(ours, stock, query, lambda: {"maybe_nodes": [*map(dict, rows), {}, Thing({})]}, path=path)
    assert found.errors


async def test_nulls_propagate_to_the_nearest_nullable_field(ours: LoomSchema, stock: LoomSchema) -> None:
    bad = {"leaves": LEAVES | {"text": None}}
    good = {"leaves": LEAVES, "must_later": 1}
    query = """{
      maybeMatrix { leaves { text id } mustLater }
      optionalNodes { name leaves { text } mustLater }
      maybeNodes { name maybeLeaves { text } leaves { id text } matrix { name leaves { text } } }
    }"""

    def root() -> dict[str, Any]:
        late = good | {"must_later": Raising(ValueError("late"))}
        return {
            "maybe_matrix": [[good, bad, late], [late | bad, None], [good]],
            "optional_nodes": [good, late, bad],
            "maybe_nodes": [
                {"leaves": LEAVES, "maybe_leaves": LEAVES | {"text": 1.5}, "matrix": [[good], [good, good]]},
                {"leaves": LEAVES, "matrix": [[good], [good, bad]]},
                {"leaves": LEAVES, "matrix": None},
            ],
        }

    found = await same(ours, stock, query, root)
    assert len(found.errors) >= 5


async def test_mutation_runs_its_fields_sequentially(ours: LoomSchema, stock: LoomSchema) -> None:
    query = """mutation {
      a: rename(name: "a") { id later byParent }
      b: rename(name: "b") { id bySelf leaves { text } }
    }"""
    row = {"id": "x", "later": "late", "by_parent": 1, "by_self": "s", "leaves": LEAVES}
    found = await same(ours, stock, query, lambda: {"rename": [row, row, row | {"leaves": None}]})
    assert found.data == ("NoneType", None)
    assert found.calls[0] == ("rename", "a")
    assert found.calls.index(("rename", "b")) > found.calls.index(("later", 1))


async def test_subscription_yields_the_same_events(ours: LoomSchema, stock: LoomSchema) -> None:
    document = parse("subscription { events { id byParent leaves { text } } }")
    row = {"id": "x", "by_parent": 1, "leaves": LEAVES}
    events = [[row] * 3, [], [row, {"id": None}], Raising(ValueError("given, not raised")), [row, Thing(row), row]]
    mine, theirs = [await _events(schema, document, {"events": events}) for schema in (ours, stock)]
    assert difference(mine, theirs) is None
    assert len(mine) == 5


async def test_each_event_of_a_subscription_has_its_own_errors(ours: LoomSchema, stock: LoomSchema) -> None:
    document = parse("subscription { events { leaves { text count } maybeLeaves { text } } }")
    row = {"leaves": LEAVES | {"text": 5, "count": "many"}, "maybe_leaves": {"text": Raising(ValueError("no text"))}}

    mine, theirs = [await _events(schema, document, {"events": [[row, row]] * 6}) for schema in (ours, stock)]

    assert difference(mine, theirs) is None
    assert [len(errors) > 0 for _, errors, _ in mine] == [True] * 6


@pytest.mark.parametrize("selection", ["id @include(if: $x)", "id maybeLeaves { text @skip(if: $x) }"])
async def test_directive_with_a_null_variable(ours: LoomSchema, stock: LoomSchema, selection: str) -> None:
    document = parse(f"query($x: Boolean = true) {{ maybeNodes {{ {selection} }} }}")
    root = {"maybe_nodes": [{"id": str(number), "maybe_leaves": {"text": "x"}} for number in range(3)]}

    for _ in range(3):
        mine, theirs = [await outcome(schema, document, root, {"x": None}) for schema in (ours, stock)]
        assert difference(mine, theirs) is None
        assert mine.errors


async def _events(schema: LoomSchema, document: Any, root: object) -> list[Any]:
    calls: list[Any] = []
    CALLS.set(calls)
    stream = subscribe(schema._schema, document, root, executor_class=schema.execution_context_class)
    stream = await stream if isawaitable(stream) else stream
    assert isinstance(stream, AsyncIterator)
    found = []
    async for result in stream:
        assert isinstance(result, ExecutionResult)
        found.append((shape(result.data), [seen(error) for error in result.errors or ()], list(calls)))
    return found
