"""Field factories, and the input and output types that several concepts share."""

from graphql_schema.fields.factories import (
    JsonPath,
    ProjectId,
    computed,
    described,
    found_or_null,
    json_field,
    optional_input,
    resolved,
    streamed,
    to_store,
)

__all__ = [
    "JsonPath",
    "ProjectId",
    "computed",
    "described",
    "found_or_null",
    "json_field",
    "optional_input",
    "resolved",
    "streamed",
    "to_store",
]
