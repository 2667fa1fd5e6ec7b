"""Coercion of variables by functions compiled per type.

graphql-core coerces unusual values and reports errors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    Undefined,
    VariableDefinitionNode,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.type import assert_leaf_type, is_required_input_field
from graphql.utilities.coerce_input_value import coerce_default_value

from graphql_schema.limits.input_values import Count, counter

Coerce = Callable[[Any], Any]

_COERCE: Final = "loomql_coerce"
"""Key of the coercion function in the extensions of an input type."""


class UnusualError(Exception):
    """A value that the compiled function does not accept: it is invalid, or valid in a rare form."""


class _Variable(NamedTuple):
    """A variable of an operation, its coercion, and whether it may be omitted without a default."""

    signature: GraphQLVariableSignature
    coerce: Coerce
    is_optional: bool


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
        self._variables = [
            _Variable(signature, _coerce_as(signature.type), _is_optional(node, signature))
            for signature, node in zip(valid, definitions, strict=self._are_valid)
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


def _is_optional(node: VariableDefinitionNode, signature: GraphQLVariableSignature) -> bool:
    return node.default_value is None and not isinstance(signature.type, GraphQLNonNull)


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
