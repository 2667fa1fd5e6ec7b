"""Fields with connections take a page's arguments, and their resolvers receive one page request."""

from typing import Any

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult

from graphql_schema.context import Context, Info
from graphql_schema.execution import CompilingExecutor, call_directly, field_of
from graphql_schema.execution.scalars import SCALARS
from graphql_schema.fields.connections import ConnectionNames, Listing, connection_field
from stores.paging import Order, Page, PageRequest, SortKey


@strawberry.type
class WordSchema:
    text: str


@strawberry.type
class Query:
    @connection_field(of=WordSchema)
    async def words(self, info: Info, letter: str = "a", *, request: PageRequest, loud: bool = False) -> Listing:
        rows = [{"text": f"{letter}{place}{'!' if loud else ''}"} for place in range(request.offset, request.size)]
        page = Page(rows, has_next=request.backward, has_previous=False, order=Order({}, (SortKey("text"),)), scope=b"")

        async def count(limit: int | None) -> int:
            return min(info.context.max_page_size + request.size, limit or 100)

        return Listing(page, count)


@pytest.fixture(params=[True, False], ids=["called directly", "called by Strawberry"])
def schema(request: pytest.FixtureRequest) -> strawberry.Schema:
    config = StrawberryConfig(default_resolver=field_of, name_converter=ConnectionNames(), scalar_map=dict(SCALARS))
    made = strawberry.Schema(Query, config=config, execution_context_class=CompilingExecutor)
    if request.param:
        call_directly(made._schema)
    return made


async def _words(schema: strawberry.Schema, arguments: str, selected: str = "nodes { text }") -> ExecutionResult:
    context: Any = Context(stores=None, max_page_size=7)  # type: ignore[arg-type] # none is asked
    result = await schema.execute(f"{{ words{arguments} {{ {selected} }} }}", context_value=context)
    assert isinstance(result, ExecutionResult)
    return result


def test_page_arguments_replace_the_page_request_parameter(schema: strawberry.Schema) -> None:
    names = list(schema._schema.query_type.fields["words"].args)  # type: ignore[union-attr]
    assert names == ["letter", "first", "after", "last", "before", "offset", "loud"]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ("(first: 3)", ["a0", "a1", "a2"]),
        ('(letter: "b", offset: 1, first: 2, loud: true)', ["b1!"]),
        ("(first: null, offset: null, last: 2)", ["a0", "a1"]),
    ],
)
async def test_resolver_receives_page_arguments_as_one_object(
    schema: strawberry.Schema, arguments: str, texts: list[str]
) -> None:
    result = await _words(schema, arguments)

    assert result.errors is None
    assert result.data == {"words": {"nodes": [{"text": text} for text in texts]}}


async def test_list_without_selected_rows_reads_none(schema: strawberry.Schema) -> None:
    counted = await _words(schema, "(first: 5)", "totalCount")
    listing = await _words(schema, "(first: 5)", "totalCount pageInfo { hasNextPage }")

    limited = await _words(schema, "(first: 5)", "totalCount(limit: 3) zero: totalCount(limit: 0)")
    assert counted.data == {"words": {"totalCount": 7}}
    assert limited.data == {"words": {"totalCount": 3, "zero": 0}}
    assert listing.data == {"words": {"totalCount": 12, "pageInfo": {"hasNextPage": False}}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("(first: 8)", "8 exceeds the limit of 7 rows per page"),
        ("(offset: -1)", "-1 is negative"),
        ('(first: 1, before: "x")', "pages forward"),
    ],
)
async def test_invalid_page_arguments_are_refused(schema: strawberry.Schema, arguments: str, expected: str) -> None:
    result = await _words(schema, arguments)

    assert expected in str(result.errors)
