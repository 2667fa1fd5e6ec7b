"""Coercion of variables by functions compiled per type.

graphql-core coerces unusual values and reports errors.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
)
from graphql.execution.collect_fields import FragmentDetails
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


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable of an operation, its coercion, and whether it may be omitted without a default."""

    signature: GraphQLVariableSignature
    coerce: Coerce
    may_be_left_out: bool


@dataclass(frozen=True, slots=True)
class Declared:
    """The declarations of an operation, computed once for all its requests.

    `variables` is None if some of them are invalid. `counts` are the value counters of variables that may have members.
    `fragments` are those of the document, by name; `executors` caches the executor templates.
    """

    schema: GraphQLSchema
    variables: tuple[_Variable, ...] | None
    counts: dict[str, Count]
    fragments: dict[str, FragmentDetails]
    executors: dict[object, Any] = field(default_factory=dict)


_DECLARED: Final[dict[int, tuple[weakref.ref[OperationDefinitionNode], Declared]]] = {}
"""Declarations by the ids of the operations, which live as long as their cached documents."""


def declared(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Declared:
    """Return the declarations of an operation of a document."""
    key = id(operation)
    kept = _DECLARED.get(key)
    if kept is None or kept[1].schema is not schema:
        found = Declared(schema, _variables(schema, operation), _counts(schema, operation), _fragments(document))
        kept = _DECLARED[key] = weakref.ref(operation, lambda _: _DECLARED.pop(key, None)), found
    return kept[1]


def _variables(schema: GraphQLSchema, operation: OperationDefinitionNode) -> tuple[_Variable, ...] | None:
    found = []
    for node in operation.variable_definitions or ():
        signature = get_variable_signature(schema, node)
        if isinstance(signature, GraphQLError):
            return None
        may_be_left_out = node.default_value is None and not isinstance(signature.type, GraphQLNonNull)
        found.append(_Variable(signature, _coerce_as(signature.type), may_be_left_out))
    return tuple(found)


def _counts(schema: GraphQLSchema, operation: OperationDefinitionNode) -> dict[str, Count]:
    signatures = [get_variable_signature(schema, node) for node in operation.variable_definitions or ()]
    found = {each.name: counter(each.type) for each in signatures if not isinstance(each, GraphQLError)}
    return {name: count for name, count in found.items() if count}


def _fragments(document: DocumentNode) -> dict[str, FragmentDetails]:
    nodes = (node for node in document.definitions if isinstance(node, FragmentDefinitionNode))
    return {node.name.value: FragmentDetails(node) for node in nodes}


def coerced(declared: Declared, raw: Mapping[str, Any]) -> VariableValues | None:
    """Return the values of the variables; None if graphql-core must coerce them, or report their errors."""
    if declared.variables is None:
        return None
    sources: dict[str, VariableValueSource] = {}
    values: dict[str, Any] = {}
    for variable in declared.variables:
        name = variable.signature.name
        if name in raw:
            try:
                values[name] = variable.coerce(raw[name])
            except UnusualError:
                return None
            sources[name] = VariableValueSource(variable.signature, raw[name])
        elif variable.may_be_left_out:
            sources[name] = VariableValueSource(variable.signature)
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
