"""Values of variables and arguments: counted by their types, then coerced by functions compiled per type.

graphql-core coerces unusual values and reports errors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, Final

from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    Undefined,
    VariableDefinitionNode,
    get_nullable_type,
)
from graphql.execution.get_variable_signature import get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.type import assert_leaf_type, is_required_input_field
from graphql.utilities.coerce_input_value import coerce_default_value
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition

from graphql_schema.errors import TOO_COMPLEX

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF

MAX_INLINE_VALUES: Final = 20_000
"""Number of values that are counted and coerced without a thread: a tenth of a second if all have errors."""

MAX_UNKNOWN_KEYS: Final = 20
"""Allowed keys of an object beyond the fields of its type: each unknown key gets an error with suggestions."""

SETTING: Final = "LOOMQL_MAX_INPUT_VALUES"

Count = Callable[[Any, int], int]
"""Subtracts the members of a value from a number and returns the rest; JSON counts as one value."""

_COUNT: Final = "loomql_count"
"""Key of the counter in the extensions of an input type."""

Coerce = Callable[[Any], Any]

_COERCE: Final = "loomql_coerce"
"""Key of the coercion function in the extensions of an input type."""


class _TooManyError(Exception):
    """There are more values than the limit allows."""


def are_few(counts: Mapping[str, Count], values: Mapping[str, Any], limit: int) -> bool:
    """Return True if the lists and objects in the counted variables have at most `limit` members.

    Raises:
        GraphQLError: if an object has far more keys than fields, or the values nest too deeply.
    """
    return _first_excess(counts, values, limit) is None


def check_values(counts: Mapping[str, Count], values: Mapping[str, Any], limit: int) -> None:
    """Check the number of members in the counted variables.

    Raises:
        GraphQLError: if it exceeds the limit, and as by `are_few`.
    """
    if name := _first_excess(counts, values, limit):
        raise GraphQLError(
            f"The variables up to ${name} have more than {limit:,} values, outside of JSON; send fewer at once, or "
            f"raise {SETTING} on the server.",
            extensions={"code": TOO_COMPLEX, "limit": limit, "setting": SETTING},
        )


def _first_excess(counts: Mapping[str, Count], values: Mapping[str, Any], limit: int) -> str | None:
    """Return the first variable with which the members exceed the limit; None if they do not."""
    remaining = limit
    for name, count in counts.items():
        if name in values:
            try:
                remaining = count(values[name], remaining)
            except _TooManyError:
                return name
            except RecursionError:
                raise GraphQLError("Variable values are nested too deeply.") from None
    return None


def counter(kind: GraphQLInputType) -> Count | None:
    """Return the counter of a type; None if its values have no members."""
    nullable = get_nullable_type(kind)
    if isinstance(nullable, GraphQLList):
        return _list_counter(counter(nullable.of_type))
    if not isinstance(nullable, GraphQLInputObjectType):
        return None
    if _COUNT not in nullable.extensions:
        inner: dict[str, Count] = {}
        nullable.extensions[_COUNT] = _object_counter(nullable, inner)
        # Computed after the counter is stored, because types may be recursive.
        found = {name: counter(field.type) for name, field in nullable.fields.items()}
        inner.update({name: count for name, count in found.items() if count})
    kept: Count = nullable.extensions[_COUNT]
    return kept


def _list_counter(inner: Count | None) -> Count:
    def members(value: object, remaining: int) -> int:
        if type(value) is not list:
            return inner(value, remaining) if inner else remaining
        remaining -= len(value)
        if remaining < 0:
            raise _TooManyError
        if inner:
            for member in value:
                remaining = inner(member, remaining)
        return remaining

    return members


def _object_counter(kind: GraphQLInputObjectType, inner: Mapping[str, Count]) -> Count:
    max_keys = len(kind.fields) + MAX_UNKNOWN_KEYS

    def members(value: object, remaining: int) -> int:
        if type(value) is not dict:
            return remaining
        size = len(value)
        remaining -= size
        if remaining < 0 or size > max_keys:
            if size <= max_keys:
                raise _TooManyError
            raise GraphQLError(
                f"An object of type '{kind.name}' has {size:,} keys, and the type {len(kind.fields)} fields; "
                "remove the unknown keys."
            )
        if inner:
            for key, member in value.items():
                if key in inner:
                    remaining = inner[key](member, remaining)
        return remaining

    return members


class UnusualError(Exception):
    """A value that the compiled function does not accept: it is invalid, or valid in a rare form."""


class VariableCoercion:
    """Counts and coerces the values of an operation's variables.

    Args:
        schema: the schema of the operation.
        definitions: the definitions of its variables.
    """

    def __init__(self, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode]) -> None:
        signatures = [get_variable_signature(schema, node) for node in definitions]
        valid = [each for each in signatures if not isinstance(each, GraphQLError)]
        counts = {each.name: counter(each.type) for each in valid}
        self.counts: dict[str, Count] = {name: count for name, count in counts.items() if count}
        """Value counters of the variables that may have members."""
        self._are_valid = len(valid) == len(signatures)
        # Each with its coercion, and whether it may be omitted without a default.
        self._variables = [
            (each, _coerce_as(each.type), node.default_value is None and not isinstance(each.type, GraphQLNonNull))
            for each, node in zip(valid, definitions, strict=self._are_valid)
        ]

    def coerce_plain(self, raw: Mapping[str, Any]) -> VariableValues | None:
        """Return the values of the variables; None if graphql-core must coerce them, or report their errors."""
        if not self._are_valid:
            return None
        sources: dict[str, VariableValueSource] = {}
        values: dict[str, Any] = {}
        for signature, coerce, is_optional in self._variables:
            name = signature.name
            if name in raw:
                try:
                    values[name] = coerce(raw[name])
                except UnusualError:
                    return None
                sources[name] = VariableValueSource(signature, raw[name])
            elif is_optional:
                sources[name] = VariableValueSource(signature)
            else:
                return None
        return VariableValues(sources, values)


def _coerce_as(kind: GraphQLInputType) -> Coerce:
    """Return the coercion function of a type.

    Raises:
        UnusualError: by the returned function, if a value is not plainly of the type.
    """
    if isinstance(kind, GraphQLNonNull):
        return _required(_coerce_as(kind.of_type))
    if isinstance(kind, GraphQLList):
        return _list(_coerce_as(kind.of_type))
    if isinstance(kind, GraphQLInputObjectType):
        if _COERCE not in kind.extensions:
            # Recursive types can nest without end; graphql-core bounds that.
            kind.extensions[_COERCE] = _unusual
            kind.extensions[_COERCE] = _object(kind)
        found: Coerce = kind.extensions[_COERCE]
        return found
    return _leaf(assert_leaf_type(kind).coerce_input_value)


def _unusual(_value: object) -> object:
    raise UnusualError


def _required(coerce: Coerce) -> Coerce:
    def required(value: object) -> object:
        if value is None:
            raise UnusualError
        return coerce(value)

    return required


def _list(coerce: Coerce) -> Coerce:
    def members(value: object) -> object:
        if value is None:
            return None
        if type(value) is not list:
            raise UnusualError
        return [coerce(member) for member in value]

    return members


def _leaf(coerce: Coerce) -> Coerce:
    def leaf(value: object) -> object:
        if value is None:
            return None
        try:
            made = coerce(value)
        except Exception as error:
            raise UnusualError from error
        if made is Undefined:
            raise UnusualError
        return made

    return leaf


def _object(kind: GraphQLInputObjectType) -> Coerce:
    fields = {name: (field.out_name or name, _coerce_as(field.type)) for name, field in kind.fields.items()}
    required = {name for name, field in kind.fields.items() if is_required_input_field(field)}
    defaults = {field.out_name or name: coerce_default_value(field) for name, field in kind.fields.items()}
    usual = {name: value for name, value in defaults.items() if value is not Undefined}
    make, is_one_of = kind.out_type, kind.is_one_of

    def members(value: object) -> object:
        if value is None:
            return None
        if type(value) is not dict or not required <= value.keys() or (is_one_of and len(value) != 1):
            raise UnusualError
        made = dict(usual)
        for name, raw in value.items():
            if name not in fields or (is_one_of and raw is None):
                raise UnusualError
            out_name, coerce = fields[name]
            made[out_name] = coerce(raw)
        return make(made)

    return members


def coerce_to_inputs(schema: GraphQLSchema) -> None:
    """Make graphql-core create the input objects of a schema, which must be a Strawberry schema without `Maybe`.

    Strawberry would create them from dicts in a second pass, which takes three times as long as the first. Fields must
    call their resolvers directly.
    """
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            definition: StrawberryObjectDefinition = kind.extensions[_DEFINITION]
            for field in kind.fields.values():
                field.out_name = field.extensions[_DEFINITION].python_name
            # With this flag graphql-core checks oneOf and reports the location, which Strawberry does not.
            kind.is_one_of = definition.is_one_of
            kind.out_type = _maker(definition)  # type: ignore[method-assign,assignment]


def _maker(definition: StrawberryObjectDefinition) -> Callable[[dict[str, Any]], object]:
    make = definition.origin
    unset = {
        field.python_name: None
        for field in definition.fields
        if field.default_value is MISSING and field.default_factory is MISSING
    }
    return lambda values: make(**(unset | values))
