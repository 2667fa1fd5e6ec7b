"""Operations return the same results in every way of execution, and an error if there is no result."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from enum import Enum

import pytest
import strawberry
from strawberry.directive import DirectiveLocation
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.field import StrawberryField
from strawberry.types.graphql import OperationType

from graphql_schema.engine.operations import LimitedSchema, OnResult, PartialFailure
from graphql_schema.limits import Limits


@strawberry.enum
class Unit(Enum):
    METRES = "metres"


@strawberry.input
class Span:
    ends_at: int = 1
    unit: Unit = Unit.METRES


@strawberry.type
class Query:
    @strawberry.field
    def length(self, of: Span) -> int:
        return of.ends_at

    @strawberry.field
    def half(self, of: int) -> int | None:
        if of % 2:
            raise ValueError(f"{of} is odd")
        return of // 2

    @strawberry.field
    def unavailable(self) -> int:
        raise ValueError("nothing is there")


@strawberry.type
class Half:
    of: int

    @strawberry.field
    def value(self) -> int:
        raise ValueError("too hard")

    @strawberry.field
    def maybe(self) -> int | None:
        raise ValueError("too hard")


@strawberry.type
class Mutation:
    @strawberry.mutation
    def halve(self, of: int) -> Half | None:
        if of == 0:
            raise ValueError("nothing to halve")
        return Half(of=of)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def down(self, start: int) -> AsyncIterator[int]:
        for number in range(start, 0, -1):
            yield number
        raise ValueError("at zero")


schema = LimitedSchema(Query, Mutation, Subscription, limits=Limits())


async def streamed(document: str | None, **given: object) -> list[ExecutionResult]:
    results = [result async for result in await schema.stream(document, **given)]  # type: ignore[arg-type]
    assert all(isinstance(result, ExecutionResult) for result in results)
    return results  # type: ignore[return-value]


def messages(result: ExecutionResult) -> list[str]:
    return [error.message for error in result.errors or ()]


async def test_query_returns_one_result_streamed_or_not() -> None:
    document = "query($n: Int!) { half(of: $n) }"

    whole, odd = [await schema.execute(document, {"n": n}) for n in (8, 7)]
    [streamed_whole] = await streamed(document, variable_values={"n": 8})
    [streamed_odd] = await streamed(document, variable_values={"n": 7})

    assert whole.data == streamed_whole.data == {"half": 4}
    assert whole.errors is streamed_whole.errors is None
    assert odd.data == streamed_odd.data == {"half": None}
    assert messages(odd) == messages(streamed_odd) == ["7 is odd"]


async def test_subscription_sends_earlier_events_before_its_final_error() -> None:
    results = await streamed("subscription { down(start: 2) }")

    assert [result.data for result in results] == [{"down": 2}, {"down": 1}, None]
    assert messages(results[2]) == ["at zero"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{ half ", "Syntax Error: Expected Name, found <EOF>."),
        ("{ third }", "Cannot query field 'third' on type 'Query'."),
        ("query($n: Int!) { half(of: $n) } query B { half(of: 2) }", "set operationName to one of them (B)"),
        ("subscription { down }", "of type 'Int!' is required"),
        (None, 'Request data is missing a "query" value'),
    ],
)
async def test_invalid_operation_is_reported_before_execution(document: str | None, message: str) -> None:
    [result] = await streamed(document)

    assert isinstance(result, PreExecutionError)
    assert result.data is None
    [text] = messages(result)
    assert message in text


async def test_subscription_with_an_invalid_variable_cannot_start() -> None:
    [result] = await streamed("subscription($n: Int!) { down(start: $n) }", variable_values={"n": "two"})

    assert isinstance(result, PreExecutionError)
    assert "Variable '$n' has invalid value" in messages(result)[0]


@pytest.mark.parametrize(
    ("document", "given", "expected"),
    [
        ("query($v: Span!) { length(of: $v) }", {"v": {"İİİ": 1}}, "not to include unknown field 'İİİ'"),
        ("query($v: Span!) { length(of: $v) }", {"v": {"unit": "İİİ"}}, "'İİİ' does not exist in 'Unit' enum"),
        ('{ length(of: {unit: "İİİ"}) }', {}, "Enum 'Unit' cannot represent non-enum value: \"İİİ\""),
    ],
    ids=["field", "value", "literal"],
)
async def test_misspelt_name_that_grows_in_lower_case_is_reported(
    document: str, given: dict[str, object], expected: str
) -> None:
    result = await schema.execute(document, given)

    [message] = messages(result)
    assert expected in message
    assert "index" not in message


async def test_disallowed_operation_type_is_refused() -> None:
    allowed = {OperationType.MUTATION}

    with pytest.raises(InvalidOperationTypeError):
        await schema.execute("{ half(of: 2) }", allowed_operation_types=allowed)
    [result] = await streamed("{ half(of: 2) }", allowed_operation_types=allowed)

    assert messages(result) == ["A query cannot be run here."]


async def test_missing_document_is_a_client_error() -> None:
    with pytest.raises(MissingQueryError):
        await schema.execute("")


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ("mutation { halve(of: 0) { of } }", ExecutionResult),
        ("mutation { a: halve(of: 0) { of } halve(of: 0) { of } }", ExecutionResult),
        ("mutation { ... { halve(of: 0) { of } } }", ExecutionResult),
        ("mutation ($of: Int!) { halve(of: $of) { of } }", ExecutionResult),
        ("mutation { halve(of: 1) { value } }", PartialFailure),
        ("mutation { halve(of: 2) { of } b: halve(of: 0) { of } }", PartialFailure),
        ("mutation { halve(of: 1) { maybe } b: halve(of: 0) { of } }", PartialFailure),
        ("mutation { ... { halve(of: 2) { of } } b: halve(of: 0) { of } }", PartialFailure),
        ("mutation { a: halve(of: 0) { of } halve(of: 2) { of } }", PartialFailure),
        ("query { half(of: 2) unavailable }", ExecutionResult),
    ],
)
async def test_partly_executed_mutation_reports_possible_effects(document: str, kind: type[ExecutionResult]) -> None:
    result = await schema.execute(document)

    assert type(result) is kind
    assert messages(result)


async def test_observer_wraps_each_operation_and_gets_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    @contextmanager
    def observe(root_field: str, name: str | None) -> Iterator[OnResult]:
        seen.append((root_field, name))
        yield seen.append
        seen.append("over")

    monkeypatch.setattr(schema, "observer", observe)

    result = await schema.execute("query Two { half(of: 2) }", operation_name="Two")
    refused = await schema.execute("{ nothing }")
    await streamed("subscription { down(start: 1) }")

    assert seen == [
        *[("half", "Two"), result, "over"],
        *[("", None), refused, "over"],
        *[("down", None), "over"],
    ]
    assert messages(refused)


class Extension(SchemaExtension):
    """An extension that does nothing."""


@strawberry.type
class Oddity:
    message: str


class Handler(strawberry.ExceptionHandler[ValueError, Oddity]):
    def handle(self, exception: ValueError, *, field: StrawberryField, info: strawberry.Info) -> Oddity:  # noqa: ARG002
        return Oddity(message=str(exception))


@strawberry.directive(locations=[DirectiveLocation.FIELD])
def shout(value: str) -> str:
    return value.upper()


@pytest.mark.parametrize(
    "given",
    [
        {"extensions": [Extension]},
        {"directives": [shout]},
        {"exception_handlers": [Handler()]},
    ],
    ids=lambda given: str(*given),
)
def test_unsupported_schema_options_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(given))} is not supported"):
        LimitedSchema(Query, limits=Limits(), **given)
