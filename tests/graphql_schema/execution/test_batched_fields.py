"""The executor resolves links of a list's rows in one batch, with the same answer as one by one."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
import strawberry
from graphql import parse
from graphql.execution.executor import Executor
from strawberry.schema.config import StrawberryConfig

from graphql_schema.context import Info
from graphql_schema.execution import BATCH_RESOLVER, CompilingExecutor, field_of
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from tests.graphql_schema.execution.comparing import Outcome, difference, outcome
from tests.graphql_schema.execution.example_schema import CALLS

Source = dict[str, Any]
Other = Annotated["Person", strawberry.lazy("tests.graphql_schema.execution.test_batched_fields")]


def linked(name: str, kind: object) -> Any:
    """Return a field that links to a person's value of that name; an error in a value fails the whole batch."""

    async def of_all(info: Info, parents: Sequence[Source], *, times: int = 1) -> list[Any]:
        assert info.field_name == name
        CALLS.get().append((name, times, [parent["name"] for parent in parents]))
        await asyncio.sleep(0)
        values = [parent.get(name) for parent in parents]
        for value in values:
            if isinstance(value, Exception):
                raise value
        return values

    async def resolve(info: Info, parent: strawberry.Parent[Any], times: int = 1) -> Any:
        return (await of_all(info, [parent], times=times))[0]

    setattr(resolve, BATCH_RESOLVER, of_all)
    return strawberry.field(resolver=resolve, graphql_type=kind)


@strawberry.type
class Person:
    name: str
    boss: Other | None = linked("boss", Other | None)
    friend: Other = linked("friend", Other)
    team: list[Other] = linked("team", list[Other])


@strawberry.type
class Query:
    people: list[Person | None]


def schema_of(executor: type[Executor[Any]]) -> LoomSchema:
    config = StrawberryConfig(default_resolver=field_of)
    return LoomSchema(query=Query, config=config, limits=Limits(), execution_context_class=executor)


OURS, STOCK = schema_of(CompilingExecutor), schema_of(Executor)


def person(name: str, **has: object) -> Source:
    return {"name": name, **has}


async def both(selection: str, people: Callable[[], list[Source]]) -> tuple[Outcome, list[Any]]:
    """Return our outcome, after a check that graphql-core's is equal, and the batches of links."""
    document = parse(f"{{ people {{ {selection} }} }}")
    first = await outcome(OURS, document, {"people": people()})
    ours = await outcome(OURS, document, {"people": people()})
    stock = await outcome(STOCK, document, {"people": people()})
    # The first run of a selection resolves the links of each row separately.
    assert difference(first[:2], stock[:2]) is None
    assert difference(ours[:2], stock[:2]) is None
    assert all(len(names) == 1 for _, _, names in stock.calls)
    return ours, ours.calls


def three() -> list[Source]:
    """Return three people: two have the same boss, and the third has none."""
    head = person("head")
    boss = person("boss", boss=head, team=[person("x", boss=head), person("y")])
    return [
        person("a", boss=boss, friend=person("f"), team=[person("t", boss=head)]),
        person("b", boss=boss, friend=head, team=[]),
        person("c", friend=boss, team=[boss, person("u")]),
    ]


@pytest.mark.parametrize(
    ("selection", "lookups"),
    [
        ("name boss { name }", [("boss", 1, ["a", "b", "c"])]),
        ("boss(times: 3) { name }", [("boss", 3, ["a", "b", "c"])]),
        (
            "boss { boss { name } }",
            [("boss", 1, ["a", "b", "c"]), ("boss", 1, ["boss", "boss"])],
        ),
        (
            "one: boss { name } two: boss(times: 2) { name }",
            [("boss", 1, ["a", "b", "c"]), ("boss", 2, ["a", "b", "c"])],
        ),
        ("team { name boss { name } }", [("team", 1, ["a", "b", "c"]), ("boss", 1, ["t", "boss", "u"])]),
        (
            "boss { team { boss { name } } } friend { name }",
            [
                ("boss", 1, ["a", "b", "c"]),
                ("friend", 1, ["a", "b", "c"]),
                ("team", 1, ["boss", "boss"]),
                ("boss", 1, ["x", "y", "x", "y"]),
            ],
        ),
    ],
    ids=["one", "arguments", "two levels", "aliases", "a list", "a list below"],
)
async def test_each_level_is_fetched_once(selection: str, lookups: list[Any]) -> None:
    _, found = await both(selection, three)

    assert found == lookups


async def test_row_without_a_required_value_is_null_and_others_are_complete() -> None:
    found, _ = await both("name friend { name }", lambda: [*three(), person("lonely")])

    assert len(found.errors) == 1
    assert '"path":["people",3,"friend"]' in found.errors[0][0]


async def test_error_of_one_row_affects_only_that_row() -> None:
    found, lookups = await both("name boss { name }", lambda: [*three(), person("bad", boss=ValueError("no boss"))])

    assert [(kind, text) for _, kind, text in found.errors] == [("ValueError", "no boss")]
    assert '"path":["people",3,"boss"]' in found.errors[0][0]
    # The executor first resolves all together, and after the failure each separately.
    assert lookups[0] == ("boss", 1, ["a", "b", "c", "bad"])
    assert sorted(names for _, _, names in lookups[1:]) == [["a"], ["b"], ["bad"], ["c"]]


async def test_nested_error_nulls_the_row_that_requires_it() -> None:
    def people() -> list[Source]:
        return [*three(), person("d", boss=person("e", friend=person("f", friend=KeyError("gone"))))]

    found, _ = await both("name boss { friend { friend { name } } }", people)

    assert {text for _, _, text in found.errors} >= {"'gone'"}


@pytest.mark.parametrize("people", [list, lambda: [None, None]], ids=["no rows", "null rows"])
async def test_empty_parent_sends_no_lookup(people: Callable[[], list[Source]]) -> None:
    _, lookups = await both("boss { name }", people)

    assert lookups == []


async def test_rows_of_other_classes_resolve_their_own_fields_in_a_batch() -> None:
    class Stranger:
        name = "stranger"

        def get(self, _name: str) -> None:
            return None

        def __getitem__(self, name: str) -> str:
            return str(getattr(self, name))

    def people() -> list[Any]:
        return [three()[0], Stranger(), three()[1]]

    document = parse("{ people { name boss { name } } }")
    found = await outcome(OURS, document, {"people": people()})

    assert found.errors == []
    assert sorted(name for _, _, names in found.calls for name in names) == ["a", "b", "stranger"]


async def test_thousand_rows_with_one_target_fetch_it_once() -> None:
    boss = person("boss", team=[person("x")])
    document = parse("{ people { boss { name team { name } } } }")
    root = {"people": [person(str(number), boss=boss) for number in range(1_000)]}

    await outcome(OURS, document, root)
    found = await outcome(OURS, document, root)

    [kind, [(name, people)]] = found.data
    assert (kind, name, len(people), found.errors) == ("dict", "people", 1_000, [])
    assert len({repr(each) for each in people}) == 1
    assert [(name, len(names)) for name, _, names in found.calls] == [("boss", 1_000), ("team", 1_000)]
