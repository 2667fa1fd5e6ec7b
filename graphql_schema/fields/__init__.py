"""Field factories, and input and output types that several packages share."""

from graphql_schema.fields.factories import (
    JsonPath,
    ProjectId,
    computed_field,
    found_or_null,
    json_field,
    optional_input,
    plain_field,
    resolved_field,
    subscription_field,
    to_store,
)

__all__ = [
    "JsonPath",
    "ProjectId",
    "computed_field",
    "found_or_null",
    "json_field",
    "optional_input",
    "plain_field",
    "resolved_field",
    "subscription_field",
    "to_store",
]
