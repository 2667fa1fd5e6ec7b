"""GraphQL input of the query language: typed, so that GraphiQL completes it, or as raw JSON."""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from typing import Any

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from graphql_schema.execution.scalars import Literal
from stores.errors import BadInputError
from stores.query import Query
from stores.query.parser import MAX_NODES


@strawberry.enum
class ConvertTo(Enum):
    """Target type of a conversion."""

    DOUBLE = "double"
    """Double: a number, or a string that contains one."""
    STRING = "string"
    """String: a string, the text of a number or boolean, or any other JSON value as text."""
    INT = "int"
    """Integer: an integer, or a string that contains one."""
    BOOL = "bool"
    """Boolean: a boolean, "true", "false", or a number (0 is false)."""
    EXISTS = "exists"
    """Boolean: true for any value but null."""


@strawberry.input(one_of=True)
class Operation:
    """Condition: exactly one operation, such as `{gt: [{getField: "latency_ms"}, {literal: 1000}]}`.

    Conditions nest in `and`, `or` and `not`.
    """

    and_: list["Operand"] | None = strawberry.field(name="and", default=strawberry.UNSET)
    """Conjunction: true if all operands are true."""
    or_: list["Operand"] | None = strawberry.field(name="or", default=strawberry.UNSET)
    """Disjunction: true if at least one operand is true."""
    not_: list["Operand"] | None = strawberry.field(name="not", default=strawberry.UNSET)
    """Negation: true if the operand is false; a list of one."""
    eq: list["Operand"] | None = strawberry.UNSET
    """Equality: Two operands. Numbers are equal by value, lists and objects by their members in order, and a missing
    value equals null. A field with a fixed set of values, such as `status`, ignores letter case. For `op_name`, a plain
    name or `name:*` also matches the versions of that op.
    """
    gt: list["Operand"] | None = strawberry.UNSET
    """Greater than: Two operands. Numbers are compared with numbers, strings with strings."""
    gte: list["Operand"] | None = strawberry.UNSET
    """Greater than or equal: Two operands."""
    lt: list["Operand"] | None = strawberry.UNSET
    """Less than: Two operands."""
    lte: list["Operand"] | None = strawberry.UNSET
    """Less than or equal: Two operands."""
    ne: list["Operand"] | None = strawberry.UNSET
    """Inequality: Two operands. True exactly if eq is false."""
    starts_with: list["Operand"] | None = strawberry.UNSET
    """Prefix test: Two operands. True if the first is a string that starts with the second."""
    is_null: "Operand | None" = strawberry.UNSET
    """Null test: true if the operand is null or missing."""
    exists: "Operand | None" = strawberry.UNSET
    """Existence test: true if the operand is present and not null."""
    convert: "ConvertOperation | None" = strawberry.UNSET
    """Conversion to another type; a condition must convert to BOOL or EXISTS."""
    in_: "InOperation | None" = strawberry.field(name="in", default=strawberry.UNSET)
    """Membership: true if the operand equals one of several values."""
    contains: "ContainsOperation | None" = strawberry.UNSET
    """Substring test: true if a text contains another."""


@strawberry.input(one_of=True)
class Operand(Operation):
    """Value: a literal, a field, a conversion, or the result of an operation."""

    literal: Literal | None = strawberry.UNSET
    """Literal string, number or boolean."""
    null_literal: bool | None = strawberry.UNSET
    """True for the value null; false is rejected."""
    get_field: str | None = strawberry.UNSET
    """Field name, such as `started_at`, `op_name` or `status`, or a path into inputs, output, attributes or summary,
    such as `inputs.messages.0.content`. Write a dot inside a key as `\\\\.` For calls, also a field of their feedback
    by type, or `*` for any type: `feedback.[wandb.reaction.1].payload.emoji`. A comparison is true if it is true for
    any such feedback; without feedback the value is null. A feedback field that is null also equals an empty text.
    """


@strawberry.input
class InOperation:
    """Membership: true if a value equals one of several."""

    input: Operand
    """Value to look for."""
    values: list[Operand]
    """Values to compare with."""


@strawberry.input
class ContainsOperation:
    """Substring test: `{input: {getField: "inputs"}, substr: {literal: "refund"}}`."""

    input: Operand
    """Text to search; a list or an object is searched as its compact JSON."""
    substr: Operand
    """Text to look for."""
    case_insensitive: bool = False
    """True if letter case is ignored; substr is then at most 1,000 characters long."""


@strawberry.input
class ConvertOperation:
    """Conversion: `{input: {getField: "inputs.age"}, to: INT}`."""

    input: Operand
    """Value to convert."""
    to: ConvertTo
    """Target type; the result is null if the value cannot be converted."""


@strawberry.input(one_of=True)
class QueryInput:
    """Condition on fields of the entries, typed or as JSON."""

    expr: Operation | None = strawberry.UNSET
    """Condition as typed input, which GraphiQL completes."""
    json: JSON | None = strawberry.UNSET
    """Condition as JSON: {"$expr": {"$eq": [{"$getField": "op_name"}, {"$literal": "f"}]}}."""

    def to_store(self) -> Query:
        """Return the query of `stores.query`."""
        return self._stored

    @cached_property
    def _stored(self) -> Query:
        # Cached: the cost check reads it before the resolver does.
        if not self.expr:
            return Query(self.json)
        return Query(_tree(self.expr, "query.expr", iter(range(MAX_NODES))), typed=True)


def _tree(node: Operation, at: str, left: Iterator[int]) -> dict[str, Any]:
    """Convert an operation to the stores' JSON form, with bare names; `at` is its location in the arguments.

    Nodes beyond those `left` become empty: the stores reject the query by its size before they read them.
    """
    if next(left, None) is None:
        return {}
    [(name, value)] = [
        (to_camel_case(field.name.rstrip("_")), value)
        for field in dataclasses.fields(node)
        if (value := getattr(node, field.name)) is not strawberry.UNSET
    ]
    at = f"{at}.{name}"
    match value:
        case list():
            return {name: _trees(value, at, left)}
        case InOperation():
            return {name: [_tree(value.input, f"{at}.input", left), _trees(value.values, f"{at}.values", left)]}
        case ContainsOperation():
            parts = {"input": _tree(value.input, f"{at}.input", left)}
            parts["substr"] = _tree(value.substr, f"{at}.substr", left)
            return {name: parts | {"case_insensitive": value.case_insensitive}}
        case ConvertOperation():
            return {name: {"input": _tree(value.input, f"{at}.input", left), "to": value.to.value}}
        case Operation():
            return {name: _tree(value, at, left)}
        case False if name == "nullLiteral":
            raise BadInputError("must be true, which means null; use literal for any other value", at)
        case _:
            return {"literal": None} if name == "nullLiteral" else {name: value}


def _trees(operands: list[Operand], at: str, left: Iterator[int]) -> list[dict[str, Any]]:
    return [_tree(operand, f"{at}.{position}", left) for position, operand in enumerate(operands)]
