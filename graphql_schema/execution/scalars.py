"""Scalars: JSON and times are exchanged in the form that the stores use.

An outgoing JSON value is text, inserted into the response unparsed; an incoming one is a parsed value. Times are
microseconds since the epoch.
"""

import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NewType

import orjson
import strawberry
from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from stores import times
from stores.errors import BadInputError
from stores.files import data_urls
from stores.json.paths import MAX_DEPTH, MAX_DIGITS

DateTime = NewType("DateTime", int)
BigInt = NewType("BigInt", int)
Literal = NewType("Literal", object)
Base64 = NewType("Base64", bytes)


@dataclass(frozen=True, slots=True)
class SentFile:
    """An uploaded file: the name that the client sent, and a function that yields its content."""

    name: str | None
    read: Callable[[], AsyncIterator[bytes]]


Upload = NewType("Upload", SentFile)

_INT64: Final = 1 << 63


def _json_out(text: object) -> orjson.Fragment:
    if not isinstance(text, str):
        raise TypeError("a JSON value must be serialized text")
    return orjson.Fragment(text)


def _json_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> object:
    """Return the JSON value of a literal; missing variables are omitted from objects and null in lists."""
    match node:
        case ObjectValueNode():
            members = {field.name.value: field.value for field in node.fields if not _absent(field.value, variables)}
            return {name: _json_literal(value, variables) for name, value in members.items()}
        case ListValueNode():
            return [_json_literal(value, variables) for value in node.values]
        case VariableNode():
            value = (variables or {}).get(node.name.value)
            if isinstance(value, SentFile):
                raise BadInputError(
                    f"${node.name.value} is a file, which is not JSON; store it by fileCreate and send its digest"
                )
            return value
        case NullValueNode():
            return None
        case IntValueNode():
            return _integer(node.value)
        case FloatValueNode():
            return _finite(float(node.value))
        case EnumValueNode():
            raise BadInputError(f'{node.value} is not JSON; write it in quotes, as "{node.value}"')
        case BooleanValueNode() | StringValueNode():
            return node.value
        case _:
            raise TypeError(f"no value of JSON: {node.kind}")


def _absent(node: ValueNode, variables: Mapping[str, Any] | None) -> bool:
    return isinstance(node, VariableNode) and node.name.value not in (variables or {})


def _integer(digits: str) -> int:
    length = len(digits.removeprefix("-"))
    if length > MAX_DIGITS:
        raise BadInputError(
            f"an integer of {length:,} digits is too long; send integers of more than {MAX_DIGITS} digits as strings"
        )
    return int(digits)


def _finite(number: float) -> float:
    if math.isinf(number):
        raise BadInputError("a number beyond the range of doubles is not supported in JSON; send it as a string")
    return number


def _time_in(value: object) -> int:
    if not isinstance(value, str):
        raise BadInputError("a DateTime must be a string in ISO 8601, such as 2026-01-31T12:00:00Z")
    return times.parse(value)


def _big_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise BadInputError("a BigInt must be an integer between -2^63 and 2^63 - 1")
    return value


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise BadInputError("a literal must be a string, a number or a boolean; for null use nullLiteral: true")
    return value


def _scalar_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> object:
    return _scalar(_json_literal(node, variables))


def _base64_in(value: object) -> bytes:
    content = data_urls.decode_base64(value) if isinstance(value, str) else None
    if content is None:
        raise BadInputError(
            "a Base64 must be a string in the alphabet A-Z a-z 0-9 + / with its padding =, without spaces or line "
            "breaks"
        )
    return content


def _upload_in(value: object) -> SentFile:
    if not isinstance(value, SentFile):
        raise BadInputError(
            "an Upload must be null in the variables, with the file as a part of a multipart/form-data request (the "
            "GraphQL multipart request specification)"
        )
    return value


SCALARS: Final[Mapping[object, ScalarDefinition]] = {
    JSON: strawberry.scalar(
        name="JSON",
        description=f"JSON value of any type, nested at most {MAX_DEPTH:,} levels deep. Integers of up to "
        f"{MAX_DIGITS} digits, the order of keys and unusual keys are preserved; other numbers are "
        "doubles.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=_json_out,
        parse_value=lambda value: value,
        parse_literal=_json_literal,
    ),
    DateTime: strawberry.scalar(
        name="DateTime",
        description="Time in ISO 8601 with microsecond precision. Output is in UTC with six digits and `Z`; input "
        "may have any offset, and is UTC without one.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=times.to_text,
        parse_value=_time_in,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="Integer of up to 64 bits, written as a JSON number.",
        serialize=int,
        parse_value=_big_int,
    ),
    Literal: strawberry.scalar(
        name="Literal",
        description="String, number or boolean.",
        parse_value=_scalar,
        parse_literal=_scalar_literal,
    ),
    Base64: strawberry.scalar(
        name="Base64",
        description="Bytes in Base64, with padding and without line breaks.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc4648#section-4",
        serialize=data_urls.encode_base64,
        parse_value=_base64_in,
    ),
    Upload: strawberry.scalar(
        name="Upload",
        description="File, sent as a part of a multipart request; null in the variables.",
        specified_by_url="https://github.com/jaydenseric/graphql-multipart-request-spec",
        parse_value=_upload_in,
    ),
}
