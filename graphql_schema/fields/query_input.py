"""The Query DSL as clients write it: typed to the leaves, so that GraphiQL completes it, or as raw JSON."""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from graphql_schema.fields import plain_field
from graphql_schema.scalars import Literal
from stores.errors import BadInputError
from stores.query import Query
from stores.query.parser import MAX_NODES

_PAIR = "Two operands."


def _choice(description: str, name: str | None = None) -> Any:  # noqa: ANN401 -- as of any field
    """One of the fields of a @oneOf input."""
    return strawberry.field(description=description, name=name, default=strawberry.UNSET)


@strawberry.enum(description="What a value can be converted to.")
class ConvertTo(Enum):
    """The values are the DSL's."""

    DOUBLE = strawberry.enum_value("double", description="Numbers, and strings that are one.")
    STRING = strawberry.enum_value("string", description="Strings, the text of numbers and booleans, JSON as a whole.")
    INT = strawberry.enum_value("int", description="Integers, and strings that are one.")
    BOOL = strawberry.enum_value("bool", description='Booleans, "true" and "false", numbers (0 is false).')
    EXISTS = strawberry.enum_value("exists", description="True where there is a value that is not null.")


@strawberry.input(
    one_of=True,
    description="A condition: exactly one operation, such as "
    '`{gt: [{getField: "latency_ms"}, {literal: 1000}]}`. Conditions nest in `and`, `or` and `not`.',
)
class Operation:
    """The operations of the DSL."""

    and_: list["Operand"] | None = _choice("All of these hold.", "and")
    or_: list["Operand"] | None = _choice("One of these holds.", "or")
    not_: list["Operand"] | None = _choice("This one does not hold; a list of one.", "not")
    eq: list["Operand"] | None = _choice(
        f"Equal: {_PAIR} Numbers equal by value, lists and objects by their members in order, missing equals null. "
        "A column with known values, such as `status`, ignores letter case. Beside `op_name` a plain name or `name:*` "
        "also finds the versions of that op."
    )
    gt: list["Operand"] | None = _choice(f"Greater: {_PAIR} Numbers with numbers, strings with strings.")
    gte: list["Operand"] | None = _choice(f"Greater or equal: {_PAIR}")
    lt: list["Operand"] | None = _choice(f"Less: {_PAIR}")
    lte: list["Operand"] | None = _choice(f"Less or equal: {_PAIR}")
    ne: list["Operand"] | None = _choice(f"Not equal: {_PAIR} True exactly where eq is false.")
    starts_with: list["Operand"] | None = _choice(
        f"Prefix: {_PAIR} True if the first is a string that starts with the second."
    )
    is_null: Annotated["Operand", strawberry.lazy("graphql_schema.fields.query_input")] | None = _choice(
        "True if the operand is null or missing."
    )
    exists: Annotated["Operand", strawberry.lazy("graphql_schema.fields.query_input")] | None = _choice(
        "True if the operand is there and not null."
    )
    convert: Annotated["ConvertOperation", strawberry.lazy("graphql_schema.fields.query_input")] | None = _choice(
        "A value as another type; as a condition, one converted to BOOL or EXISTS."
    )
    in_: Annotated["InOperation", strawberry.lazy("graphql_schema.fields.query_input")] | None = _choice(
        "Equal to one of several.", "in"
    )
    contains: Annotated["ContainsOperation", strawberry.lazy("graphql_schema.fields.query_input")] | None = _choice(
        "A text that holds another text."
    )


@strawberry.input(
    one_of=True,
    description="A value: a literal, a field, one of them converted, or whether an operation holds.",
)
class Operand(Operation):
    """The operations, and the values they work on."""

    literal: Literal | None = _choice("A string, number or boolean, taken as it is.")
    null_literal: bool | None = _choice("With true, null.")
    get_field: str | None = _choice(
        r"A field: a plain one (`started_at`, `op_name`, `status`, …), or a path into inputs, output, attributes or "
        r"summary, such as `inputs.messages.0.content`; a dot inside a key is written `\\.` Of calls "
        r"also what is in the feedback on them, by type, or `*` for any: `feedback.[wandb.reaction.1].payload.emoji`. "
        r"A comparison is true of a call where it is true of any such feedback; without any, all of it is null. "
        r"A field of feedback that is null also equals an empty text."
    )


@strawberry.input(description="Equal to one of several.")
class InOperation:
    """`$in`."""

    input: Operand = plain_field("The value to look for.")
    values: list[Operand] = plain_field("The values of which it may be one.")


@strawberry.input(
    description='A text that holds another: `{input: {getField: "inputs"}, substr: {literal: "refund"}}`.'
)
class ContainsOperation:
    """`$contains`."""

    input: Operand = plain_field(
        "Where to look: a text, or what has one; a list or an object is searched as its compact JSON."
    )
    substr: Operand = plain_field("The text to look for.")
    case_insensitive: bool = strawberry.field(
        description="With true, letter case is folded; the text may have up to 1,000 characters.", default=False
    )


@strawberry.input(description='A value as another type: `{input: {getField: "inputs.age"}, to: INT}`.')
class ConvertOperation:
    """`$convert`."""

    input: Operand = plain_field("The value.")
    to: ConvertTo = plain_field("The type; what has no counterpart in it is null.")


@strawberry.input(one_of=True, description="A query: which entries to take, by any condition on their fields.")
class QueryInput:
    """The DSL in one of its two forms."""

    expr: Operation | None = _choice("The condition, field by field as GraphiQL completes it.")
    json: JSON | None = _choice('The same as JSON: {"$expr": {"$eq": [{"$getField": "op_name"}, {"$literal": "f"}]}}.')

    def to_store(self) -> Query:
        """The query as the stores take it."""
        return self._stored

    @cached_property
    def _stored(self) -> Query:
        # The cost of an operation looks at it before its resolver does.
        if not self.expr:
            return Query(self.json)
        return Query(_tree(self.expr, "query.expr", iter(range(MAX_NODES))), typed=True)


def _tree(node: Operation, at: str, left: Iterator[int]) -> dict[str, Any]:
    """The operation as the stores read it, with bare names; `at` is where it stands among the arguments.

    What is more than there are `left` stays empty: the stores refuse the query before they look at it.
    """
    if next(left, None) is None:
        return {}
    [(name, value)] = [
        (to_camel_case(field.name.rstrip("_")), given)
        for field in dataclasses.fields(node)
        if (given := getattr(node, field.name)) is not strawberry.UNSET
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
            raise BadInputError("must be true, which stands for null; write any other value as a literal", at)
        case _:
            return {"literal": None} if name == "nullLiteral" else {name: value}


def _trees(operands: list[Operand], at: str, left: Iterator[int]) -> list[dict[str, Any]]:
    return [_tree(operand, f"{at}.{position}", left) for position, operand in enumerate(operands)]
