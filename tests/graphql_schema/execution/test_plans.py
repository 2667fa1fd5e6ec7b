"""Plans are compiled for repeated selections and stay within their memory limit."""

from typing import Any

import pytest
import strawberry
from graphql import DocumentNode, ExecutionResult, parse
from strawberry.schema.config import StrawberryConfig

from graphql_schema.engine.documents import DocumentCache
from graphql_schema.execution import CompilingExecutor, field_of, plans
from graphql_schema.fields import resolved_field
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from tests.graphql_schema.execution import comparing

WIDE = " ".join(f"w{number}: name" for number in range(plans.MAX_FIELDS + 1))


@strawberry.type
class Thread:
    """The type of the rows."""

    name: str
    color: str | None


@strawberry.type
class Query:
    @resolved_field("Some rows.", returns=list[Thread])
    def threads(self, count: int) -> list[dict[str, Any]]:
        return [{"name": f"thread {number}"} for number in range(count)]


SCHEMA = strawberry.Schema(Query, config=StrawberryConfig(default_resolver=field_of))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of fields of each compiled row function."""
    made: list[int] = []

    original = plans.row_maker

    def row_maker(fields: list[Any]) -> plans.RowMaker:
        made.append(len(fields))
        return original(fields)

    monkeypatch.setattr(plans, "row_maker", row_maker)
    return made


def run(document: DocumentNode, count: int, **variables: object) -> list[dict[str, Any]]:
    result = comparing.run(SCHEMA._schema, CompilingExecutor, document, None, {"count": count, **variables})
    assert isinstance(result, ExecutionResult)
    assert result.errors is None
    assert result.data is not None
    rows: list[dict[str, Any]] = result.data["threads"]
    return rows


def document(selection: str, variables: str = "$count: Int!") -> DocumentNode:
    return parse(f"query({variables}) {{ threads(count: $count) {{ {selection} }} }}")


def test_selection_run_once_is_not_compiled(compiled: list[int]) -> None:
    parsed = document("name color")

    assert run(parsed, 1) == [{"name": "thread 0", "color": None}]
    assert compiled == []


def test_selection_run_again_is_compiled_once(compiled: list[int]) -> None:
    parsed = document("name color")

    assert [len(run(parsed, count)) for count in (3, 1, 200)] == [3, 1, 200]
    assert compiled == [2, 1]  # the rows in the first request, the root in the second


def test_variables_that_affect_the_selection_have_their_own_plans(compiled: list[int]) -> None:
    parsed = document("name color @include(if: $with)", "$count: Int!, $with: Boolean!")

    rows = [run(parsed, 2, **{"with": value})[1] for value in (True, False, True)]

    assert rows == [{"name": "thread 1", "color": None}, {"name": "thread 1"}, {"name": "thread 1", "color": None}]
    assert compiled == [2, 1, 1]  # the last 1 is the root of the first variant, in the third request


def test_too_wide_selection_uses_the_fallback(compiled: list[int]) -> None:
    rows = run(document(WIDE), 3)

    assert [len(row) for row in rows] == [plans.MAX_FIELDS + 1] * 3
    assert compiled == []


def test_flags_without_effect_make_no_plans(compiled: list[int]) -> None:
    parsed = document("name", "$count: Int!, $spare: Boolean")

    for value in (True, False, None, True):
        run(parsed, 2, spare=value)

    assert compiled == [1, 1]  # rows and root


def test_many_variants_use_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MAX_PLANNED_FIELDS", 100)
    flags = [f"f{number}" for number in range(8)]
    selection = " ".join(f"{flag}: name @include(if: ${flag})" for flag in flags)
    parsed = document(f"name {selection}", ", ".join(["$count: Int!", *(f"${flag}: Boolean!" for flag in flags)]))

    for variant in range(256):
        rows = run(parsed, 2, **{flag: bool(variant >> bit & 1) for bit, flag in enumerate(flags)})
        assert len(rows[1]) == 1 + variant.bit_count()
        assert comparing.prepared(SCHEMA._schema, parsed).plans.size <= 100


async def test_plans_of_documents_that_run_once_stay_within_the_cache() -> None:
    config = StrawberryConfig(default_resolver=field_of)
    schema = LoomSchema(Query, limits=Limits(), config=config, execution_context_class=CompilingExecutor)
    schema._documents._cache = cache = DocumentCache(max_characters=2_000)
    fields = " ".join(f"a{number}: name" for number in range(20))
    texts = [f"{{ threads(count: 3) {{ {fields} }} }} # {number}" for number in range(20)]

    for text in texts:
        assert (await schema.execute(text)).errors is None
        assert cache._characters == sum(each.size for each in cache._documents.values()) <= 2_000

    assert [each.size > len(text) for text, each in cache._documents.items()] == [True] * len(cache._documents)
    assert 1 <= len(cache._documents) < len(texts) / 2
    assert cache.get(texts[-1])
