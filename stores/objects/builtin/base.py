"""Base of the builtin classes."""

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, JsonValue

from stores import json_schema

JsonObject = dict[str, JsonValue]


class Strict(BaseModel, extra="forbid", allow_inf_nan=False, defer_build=True):
    """Settings of all classes and their parts; not listed in `_bases`.

    Numbers may be strings, but not non-finite ones.
    """


class BaseObject(Strict):
    """An object of a built-in class."""

    name: str | None = None
    description: str | None = None


def _check_form(schema: JsonObject) -> JsonObject:
    return _checked(schema, json_schema.check_schema)


def _check_use(schema: JsonObject) -> JsonObject:
    return _checked(schema, json_schema.JsonSchema)


def _checked(schema: JsonObject, check: Callable[[JsonObject], object]) -> JsonObject:
    try:
        with json_schema.bounded_time():
            check(schema)
    except json_schema.SchemaFaultError as error:
        raise ValueError(f"it {error.message}") from None
    return schema


JsonSchema = Annotated[JsonObject, AfterValidator(_check_form)]
"""A schema that other programs validate values with; its patterns and references are not checked."""

OwnJsonSchema = Annotated[JsonObject, AfterValidator(_check_use)]
"""A schema that LoomQL itself validates values with."""
