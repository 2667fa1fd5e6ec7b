"""Tests that random expand columns over random calls and objects return and find the model's results."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pytest

from stores import digests
from stores.calls import CallsStore, Expansion
from stores.calls.fields import CALL_FIELDS
from stores.database import Database
from stores.errors import BadInputError
from stores.json import codec, paths
from stores.objects import ObjectsStore
from stores.paging import PageRequest
from stores.query import Query
from stores.query.parser import parse_query
from stores.tables import TablesStore
from tests.chance import SEED, cases
from tests.stores.calls.builders import PROJECT, end, start
from tests.stores.objects.builders import version
from tests.stores.query import oracle
from tests.stores.query.generator import Generator
from tests.stores.query.oracle import PAYLOADS, Row
from tests.stores.query.test_against_oracle import row_of

CALLS = 60
VERSIONS = 25
QUERIES = cases(75)
COLUMNS: Final = (
    *("inputs.a", "inputs.a.a", "inputs.a.b", "inputs.a.a.b", "inputs.b", "inputs.b.0"),
    *("output", "output.a", "attributes.a", "attributes.a.b.a", r"summary.a\.b"),
)
RAW = oracle.stored
RAW_AROUND = oracle.around

Value = Any
"""A decoded JSON value."""


@dataclass
class World:
    """The stored calls and objects, with a model of how columns expand in them."""

    rows: list[Row]
    versions: dict[str, Value]
    columns: list[list[str]]

    def expanded(self, row: Row) -> Row:
        """Return a call as a page should return it."""
        found: Row = json.loads(json.dumps({name: row.get(name) for name in PAYLOADS}))
        for column in sorted(self.columns, key=len):
            self._expand(found, column)
        return found

    def _expand(self, value: Value, steps: list[str]) -> None:
        *way, last = steps
        for step in way:
            value = value.get(step) if isinstance(value, dict) else None
        ref = value.get(last) if isinstance(value, dict) else None
        there = self.versions.get(ref) if isinstance(ref, str) else None
        if there is not None:
            copy = json.loads(json.dumps(there))
            value[last] = {**copy, "_ref": ref} if isinstance(copy, dict) and "_ref" not in copy else copy

    def stored(self, name: str, row: Row) -> Value:
        """Return the value that a query sees at a name; below a column it is in the referenced object, or null."""
        root, _, path = name.partition(".")
        if root not in PAYLOADS or name in oracle.ALIASES:
            return RAW(name, row)
        steps = [root, *paths.split(path)]
        outer = self._outer(steps)
        if not outer:
            return RAW(name, row)
        return oracle._bent(paths.follow(self._behind(outer, row), steps[len(outer) :]))

    def around(self, name: str, row: Row) -> tuple[str, list[str]]:
        """Return the JSON text that holds a value, and the steps to it; below a column, this is the object's text."""
        steps = [name.partition(".")[0], *paths.split(name.partition(".")[2])]
        outer = self._outer(steps)
        if not outer:
            return RAW_AROUND(name, row)
        return codec.encode(self._behind(outer, row)), steps[len(outer) :]

    def _outer(self, steps: list[str]) -> list[str] | None:
        outer = [column for column in self.columns if len(column) < len(steps) and steps[: len(column)] == column]
        return max(outer, key=len, default=None)

    def _behind(self, column: list[str], row: Row) -> Value:
        outer = self._outer(column)
        value: Value = self._behind(outer, row) if outer else row
        for step in column[len(outer or ()) :]:
            value = value.get(step) if isinstance(value, dict) else None
        return self.versions.get(value) if isinstance(value, str) else None


@dataclass
class GeneratorBehindRefs(Generator):
    """Generates queries that mostly name values below one of the columns."""

    columns: list[list[str]] = field(default_factory=list)

    def name(self, rows: Sequence[Row]) -> str:
        """Return a path below a column if a value exists there, or any other path."""
        if self.dice.random() < 0.3:
            return super().name(rows)
        steps = list(self.dice.choice(self.columns))
        there = [value for row in rows if isinstance(value := paths.follow(row, steps), dict | list) and value]
        value = self.dice.choice(there) if there else None
        while isinstance(value, dict | list) and value:
            key, value = self.dice.choice([*(value.items() if isinstance(value, dict) else enumerate(value))])
            if key == "":
                break
            steps.append(str(key))
        return paths.join(steps)


async def fill(generator: Generator, calls: CallsStore, objects: ObjectsStore, database: Database) -> World:
    """Write objects and rows that refer to each other, delete some, and write calls that refer to them."""
    dice, refs = generator.dice, [f"weave:///{PROJECT}/object/nobody:x"]
    behind: dict[str, Value] = {}
    rows: dict[str, Value] = {}
    for number in range(VERSIONS):
        inside = {key: dice.choice(refs) for key in dice.sample("ab", dice.randint(0, 2))}
        val = generator.object(3) | inside if dice.random() < 0.85 else generator.value(2)
        table: dict[str, Value] = {}
        if isinstance(val, dict) and dice.random() < 0.6:
            table = await create_table(generator, refs, database)
            val["rows"] = f"weave:///{PROJECT}/table/{digests.table_digest(list(table))}"
            rows |= table
        digest = await objects.create(version(val, object_id=f"o{number}"))
        ref = f"weave:///{PROJECT}/object/o{number}:{digest}"
        refs.append(ref)
        named = [f"{ref}/attr/rows/id/{row}" for row in table]
        if dice.random() < 0.3:
            named.append(f"{ref}/attr/rows/id/{dice.choice(['x' * 43, *rows])}")  # a row of another table or of none
        refs += named
        if dice.random() < 0.1:
            await objects.delete(PROJECT, f"o{number}", [digest])
        else:
            behind[ref] = val
            behind |= {name: table[row] for name in named if (row := name.rpartition("/")[2]) in table}

    def referring(depth: int) -> dict[str, Value]:
        found: dict[str, Value] = generator.object(2)
        for key in dice.sample(("a", "b", "a.b"), 2):
            found[key] = dice.choice(refs) if not depth or dice.random() < 0.7 else referring(depth - 1)
        return found

    parts = [start(number, inputs=referring(2), attributes=referring(2)) for number in range(CALLS)]
    ends = [end(number, output=dice.choice([referring(1), dice.choice(refs)])) for number in range(0, CALLS, 2)]
    await calls.write([*parts, *(dice.choice([each, end(0, summary=referring(0))]) for each in ends)])
    return World([row_of(document) async for document in database.calls.find({})], behind, [])


async def create_table(generator: Generator, refs: Sequence[str], database: Database) -> dict[str, Value]:
    """Write a table whose rows may hold refs, and return its rows by digest."""
    dice = generator.dice
    rows = [generator.object(2) | {dice.choice("ab"): dice.choice(refs)} for _ in range(dice.randint(1, 3))]
    _, row_digests = await TablesStore(database).create(PROJECT, rows)
    return dict(zip(row_digests, rows, strict=True))


def column_sets(generator: Generator, count: int) -> Iterator[list[str]]:
    """Yield random sets of columns, in random order."""
    return (generator.dice.sample(COLUMNS, generator.dice.randint(1, 6)) for _ in range(count))


async def test_pages_return_the_models_expansion(calls: CallsStore, objects: ObjectsStore, database: Database) -> None:
    generator = Generator(SEED)
    world = await fill(generator, calls, objects, database)
    replaced = 0

    for names in column_sets(generator, 40):
        world.columns = [paths.split(name) for name in names]
        page = await calls.page(PROJECT, PageRequest(CALLS), {"id", *PAYLOADS}, expansion=Expansion(names))

        found = {row["id"]: {name: json.loads(row["json"].get(name, "null")) for name in PAYLOADS} for row in page.rows}
        expected = {row["id"]: world.expanded(row) for row in world.rows}
        assert found == expected, names
        replaced += sum(world.expanded(row) != {name: row.get(name) for name in PAYLOADS} for row in world.rows)

    assert replaced > 40 * CALLS / 4


async def test_queries_and_sorts_through_refs_match_the_model(
    calls: CallsStore,
    objects: ObjectsStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = GeneratorBehindRefs(SEED + 1)
    world = await fill(generator, calls, objects, database)
    monkeypatch.setattr(oracle, "stored", world.stored)
    monkeypatch.setattr(oracle, "around", world.around)
    matched, behind, refused = 0, 0, 0

    for names in column_sets(generator, QUERIES):
        world.columns = [paths.split(name) for name in names]
        generator.columns = world.columns
        seen = [row | world.expanded(row) for row in world.rows]
        tree, sort_by = generator.query(seen), generator.sort(seen)
        operation = parse_query(tree, CALL_FIELDS)
        expected = [row["id"] for row in oracle.in_order(world.rows, sort_by) if oracle.holds(operation, row)]
        ask = partial(calls.page, PROJECT, sort_by=sort_by, query=Query(tree), expansion=Expansion(names, False))  # noqa: FBT003 -- no values

        try:
            page = await ask(PageRequest(CALLS), {"id"})
        except BadInputError as error:
            assert "behind refs; the limit is 10" in error.message  # noqa: PT017 -- most are not refused
            refused += 1
            continue
        assert [row["id"] for row in page.rows] == expected, f"{names} {sort_by} {tree}"
        assert await calls.count(PROJECT, query=Query(tree), expansion=Expansion(names)) == len(expected)
        if len(expected) > 2:
            rest = await ask(PageRequest(CALLS, page.cursor(page.rows[1])), {"id"})
            assert [row["id"] for row in rest.rows] == expected[2:]
        matched += len(expected)
        behind += any(world._outer(paths.split(key.field)) for key in sort_by) or _looks_behind(world, tree)

    with capsys.disabled():
        print(f"\n{QUERIES} queries, {behind} of them through refs, {refused} refused, {matched:,} matches")  # noqa: T201
    assert refused < QUERIES / 10
    assert behind > QUERIES / 4
    assert matched > QUERIES * CALLS / 10


def _looks_behind(world: World, tree: Value) -> bool:
    """Return True if a query names a field below a column."""
    if isinstance(tree, dict) and "$getField" in tree:
        return world._outer(paths.split(tree["$getField"])) is not None
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return any(_looks_behind(world, member) for member in members)
