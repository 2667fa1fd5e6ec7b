"""Plans: selections compiled to row functions in Python, shared by the requests of an operation.

A row function is straight-line code that reads, checks and encodes the fields of one object. How the value of each
field is read, resolved and encoded is found out before the first row. No client input becomes code: it contains
numbers, names of the schema, and response names as string literals.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from types import NoneType
from typing import Any, Final, NamedTuple, TypeGuard, cast

import orjson
import strawberry
from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_nullable_type,
    is_composite_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetailsList, collect_fields
from graphql.execution.executor import Executor
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.scalars import JSON
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from graphql_schema.execution.scalars import SCALARS, BigInt, DateTime
from stores import times

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF

BATCH_RESOLVER: Final = "of_all"
"""Attribute of a resolver with its batch resolver: an async function of an info, the sources, and the arguments by
name.

It returns a list with one value for each source.
"""

UNWRAPPED: Final = "_is_default"
"""Strawberry's mark of resolvers; a function around one, such as a permission check, has none."""

BARE: Final = "bare"
"""Attribute of a resolver with a faster function of the source alone, for uses without arguments."""

IMMUTABLE: Final = (str, int, float, bool, NoneType, Enum)
"""Types whose values a resolver cannot change, so that requests can share them."""

MAX_FIELDS: Final = 500
"""Maximum number of fields of a compiled selection; a larger one takes longer to compile than it saves."""

MAX_PLANNED_FIELDS: Final = 5_000
"""Maximum number of fields in all plans of an operation, each of about one kilobyte; beyond it they start anew."""

Source = Any


def is_included(selection: SelectionNode, variables: Mapping[str, Any]) -> bool:
    """Return True if the directives of a selection include it for these variable values."""
    return all(_holds(directive, variables) for directive in selection.directives or ())


def _holds(directive: DirectiveNode, variables: Mapping[str, Any]) -> bool:
    if directive.name.value not in ("skip", "include"):
        return True
    [argument] = directive.arguments or ()
    condition = argument.value
    literal = getattr(condition, "value", None)
    value = variables.get(condition.name.value) if isinstance(condition, VariableNode) else literal
    return bool(value) == (directive.name.value == "include")


def flags(operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode]) -> tuple[str, ...]:
    """Return the names of the variables that `@skip` and `@include` use."""
    found: dict[str, None] = {}
    waiting: list[SelectionSetNode] = [operation.selection_set, *(fragment.selection_set for fragment in fragments)]
    while waiting:
        for selection in waiting.pop().selections:
            for directive in selection.directives or ():
                values = (argument.value for argument in directive.arguments or ())
                found |= dict.fromkeys(value.name.value for value in values if isinstance(value, VariableNode))
            nested = getattr(selection, "selection_set", None)
            waiting += [nested] if nested else []
    return tuple(found)


def field_of(source: Source, name: str) -> object:
    """Return a field of a row of a store or of a result object; rows omit null fields."""
    return source.get(name) if type(source) is dict else getattr(source, name)


def reader(source: Source) -> Callable[[str], object]:
    """Return a function that reads fields of a source by name; it returns exceptions as values."""
    return source.get if type(source) is dict else partial(_attribute, source)


def _attribute(source: Source, name: str) -> object:
    try:
        return getattr(source, name)
    except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
        return error


@dataclass(frozen=True, slots=True)
class Call:
    """A field whose resolver is a plain function of the source and the field's arguments.

    `source` is the Python code that passes the source: as the first argument, by name, or both.
    """

    function: Callable[..., object]
    source: str
    has_arguments: bool


Reading = str | Call
"""Name of an attribute of the source, for a field without a resolver; or a call of the resolver."""

BatchResolver = Callable[..., Awaitable[list[Any]]]


@dataclass(frozen=True)
class Field:
    """A field under its response name, with every node that selects it."""

    name: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList

    @property
    def type(self) -> GraphQLOutputType:
        """The output type."""
        return self.definition.type

    @property
    def is_nullable(self) -> bool:
        """True if the field may be null."""
        return not is_non_null_type(self.type)

    @cached_property
    def plain_field(self) -> StrawberryField | None:
        """Strawberry's field; None if something between it and its resolver changes the value."""
        field = self.definition.extensions.get(_DEFINITION)
        return field if is_plain(field) else None

    @cached_property
    def reading(self) -> Reading | None:
        """Access to its value without Strawberry; None for a field that needs an info, is async, or has extensions."""
        field = self.plain_field
        if field is None or not hasattr(self.definition.resolve, UNWRAPPED):
            return None
        resolver = field.base_resolver
        if resolver is None:
            return field.python_name if field.default_resolver is field_of else None
        if field.is_async or resolver.info_parameter:
            return None
        bare = getattr(resolver.wrapped_func, BARE, None)
        if bare and not self.details[0].node.arguments:
            return Call(bare, "source", has_arguments=False)
        by_name = {parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter}
        first = ["source"] if resolver.self_parameter else []
        passed = ", ".join([*first, *(f"{name}=source" for name in sorted(by_name))])
        return Call(cast("Callable[..., object]", resolver.wrapped_func), passed, bool(self.definition.args))

    @cached_property
    def batch_resolver(self) -> BatchResolver | None:
        """Batch resolver for many rows at once; None if it has none."""
        resolver = self.plain_field.base_resolver if self.plain_field else None
        return getattr(resolver.wrapped_func, BATCH_RESOLVER, None) if resolver else None

    def arguments(self, variables: VariableValues) -> dict[str, Any]:
        """Return its arguments for the values of the variables; raises graphql-core's errors."""
        return get_argument_values(self.definition, self.details[0].node, variables)

    def shared_arguments(self, variables: VariableValues) -> Mapping[str, Any] | None:
        """Return the arguments for its resolver; None if all rows cannot share them.

        They cannot if they are invalid, which each row then reports, or if a resolver could change them.
        """
        try:
            values = self.arguments(variables)
        except GraphQLError:  # graphql-core reports it
            return None
        declared = self.definition.args.items()
        names = {each.out_name or name: each.extensions[_DEFINITION].python_name for name, each in declared}
        found = {names[name]: value for name, value in values.items()}
        return found if all(isinstance(value, IMMUTABLE) for value in found.values()) else None

    @cached_property
    def leaf(self) -> "Leaf | None":
        """Encoder of its values if they are scalars or enums; None otherwise."""
        kind = get_nullable_type(self.type)
        return leaf(kind) if is_leaf_type(kind) else None

    @cached_property
    def item_type(self) -> GraphQLOutputType | None:
        """Type of the items if its type is a list; None otherwise."""
        kind = get_nullable_type(self.type)
        return kind.of_type if is_list_type(kind) else None

    @cached_property
    def has_composite_items(self) -> bool:
        """True if its type is a list of objects, interfaces or unions."""
        return self.item_type is not None and is_composite_type(get_nullable_type(self.item_type))

    @cached_property
    def object_type(self) -> GraphQLObjectType | None:
        """Object type of the values if they are plain objects; None otherwise."""
        return plain_object(self.type)


def plain_object(kind: GraphQLOutputType) -> GraphQLObjectType | None:
    """Return the object type, nullable or not, if its values need no type check; None otherwise."""
    named = get_nullable_type(kind)
    return named if is_object_type(named) and named.is_type_of is None else None


def is_plain(field: object) -> TypeGuard[StrawberryField]:
    """Return True if nothing between a field and its resolver changes the value."""
    if not isinstance(field, StrawberryField):
        return False
    return type(field).get_result is StrawberryField.get_result and not field.extensions


def call_directly(schema: GraphQLSchema) -> None:
    """Make the plain fields of a schema call their resolvers directly.

    Coercion must return the arguments in the form of the resolvers, as `coerce_to_inputs` ensures.
    """
    for kind in schema.type_map.values():
        attribute = "subscribe" if kind is schema.subscription_type else "resolve"
        for definition in kind.fields.values() if isinstance(kind, GraphQLObjectType) else ():
            field = definition.extensions.get(_DEFINITION)
            if is_plain(field) and field.base_resolver:
                for argument in definition.args.values():
                    argument.out_name = argument.extensions[_DEFINITION].python_name
                setattr(definition, attribute, _direct(field, field.base_resolver))


def _direct(field: StrawberryField, resolver: StrawberryResolver[Any]) -> Callable[..., object]:
    function = cast("Callable[..., object]", resolver.wrapped_func)
    has_self = resolver.self_parameter is not None
    sources = [parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter]
    info_name = resolver.info_parameter.name if resolver.info_parameter else None

    def resolve(source: object, info: GraphQLResolveInfo[Any], **values: object) -> object:
        for name, value in values.items():
            if type(value) is list:
                # A resolver may change its list, which others may receive from the same variable.
                values[name] = value.copy()
        for name in sources:
            values[name] = source
        if info_name:
            values[info_name] = strawberry.Info(_raw_info=info, _field=field)
        return function(source, **values) if has_self else function(**values)

    setattr(resolve, UNWRAPPED, False)
    return resolve


class Leaf(NamedTuple):
    """Python expressions over `v`: the condition and the encoded value; and the names that they use."""

    condition: str
    written: str = "v"
    names: Mapping[str, object] = {}


_BUILT_IN: Final = {
    "String": Leaf("type(v) is str"),
    "ID": Leaf("type(v) is str"),
    "Boolean": Leaf("type(v) is bool"),
    "Int": Leaf(f"type(v) is int and {-(1 << 31)} <= v < {1 << 31}"),
    "Float": Leaf("type(v) is float and isfinite(v)", names={"isfinite": math.isfinite}),
}
_OWN: Final[Mapping[object, Leaf]] = {
    SCALARS[JSON].serialize: Leaf("type(v) is str", "Fragment(v)", {"Fragment": orjson.Fragment}),
    # The driver has an integer class of its own.
    SCALARS[DateTime].serialize: Leaf(
        f"isinstance(v, int) and {times.FIRST} <= v <= {times.LAST}", "to_text(v)", {"to_text": times.to_text}
    ),
    SCALARS[BigInt].serialize: Leaf("isinstance(v, int)", "int(v)"),
}
"""Encoders of LoomQL's scalars by their functions, because another schema may use these names."""


def leaf(kind: GraphQLLeafType) -> Leaf | None:
    """Return the encoder of a scalar or an enum; None if only the type itself can encode."""
    if isinstance(kind, GraphQLEnumType):
        return _enum(kind)
    if not isinstance(kind, GraphQLScalarType):
        return None
    return _BUILT_IN.get(kind.name) or _OWN.get(kind.coerce_output_value)


def _enum(kind: GraphQLEnumType) -> Leaf | None:
    """Encode by the values of the enum in rows, and by the members of the Python enum."""
    members = getattr(kind, "wrapped_cls", None)
    by_value = {value.value: name for name, value in kind.values.items() if type(value.value) is str}
    if not isinstance(members, type) or not issubclass(members, Enum) or len(by_value) != len(kind.values):
        return None
    found = f"{kind.name}_names"
    names = by_value | {member: by_value[member.value] for member in members if member.value in by_value}
    condition = f"(type(v) is str or type(v) is {kind.name}) and v in {found}"
    return Leaf(condition, f"{found}[v]", {found: names, kind.name: members})


RowMaker = Callable[..., tuple[Callable[[Any, Any], dict[str, Any]], dict[int, Callable[[Any, Any], Any]]]]
"""Takes four functions of `executor.Rows`, and the arguments of calls by position.

Returns the row function; and for each batched field, by position, the function that completes a value of it at the
location of its row.
"""


def row_maker(fields: Sequence[Field]) -> RowMaker:
    """Compile the factory of row functions for a selection."""
    names: dict[str, Any] = {"reader": reader}
    for position, field in enumerate(fields):
        names |= field.leaf.names if field.leaf else {}
        if isinstance(field.reading, Call):
            names[f"call{position}"] = field.reading.function
    exec(_source(fields), names)  # noqa: S102 -- generated below, from names of the schema
    maker: RowMaker = names["make"]
    return maker


def _source(fields: Sequence[Field]) -> str:
    lines = ["def make(unusual, below, ordinary, defer_or_resolve, arguments):"]
    lines += [f"    given{position} = arguments[{position}]" for position in argument_positions(fields)]
    lines += ["    def row(source, at):"]
    if any(isinstance(field.reading, str) for field in fields):
        lines += ["        get = source.get if type(source) is dict else reader(source)"]
    for position, field in enumerate(fields):
        lines += [f"        {line}" for line in _field(position, field)]
    entries = ", ".join(f"{field.name!r}: f{position}" for position, field in enumerate(fields))
    batched = [position for position, field in enumerate(fields) if field.batch_resolver]
    if batched:
        lines += [f"        data = {{{entries}}}", "        defer_or_resolve(source, at, data)", "        return data"]
    else:
        lines += [f"        return {{{entries}}}"]
    completions = ", ".join(f"{position}: lambda v, at: {_written(position, fields[position])}" for position in batched)
    return "\n".join([*lines, f"    return row, {{{completions}}}"])


def argument_positions(fields: Sequence[Field]) -> list[int]:
    """Return the positions of fields whose resolvers are called directly with arguments."""
    readings = [field.reading for field in fields]
    return [position for position, found in enumerate(readings) if isinstance(found, Call) and found.has_arguments]


def _field(position: int, field: Field) -> Iterator[str]:
    if field.details[0].node.name.value == "__typename":
        yield f"f{position} = {field.parent.name!r}"
        return
    if field.batch_resolver:
        yield f"f{position} = None"
        return
    match field.reading:
        case None:
            yield f"f{position} = ordinary({position}, source, at)"
            return
        case str(name):
            yield f"v = get({name!r})"
        case Call(_, source, has_arguments):
            given = [source] if source else []
            given += [f"**given{position}"] if has_arguments else []
            yield f"try: v = call{position}({', '.join(given)})"
            yield "except Exception as error: v = error"
    yield f"f{position} = {_written(position, field)}"


def _written(position: int, field: Field) -> str:
    unusual = f"unusual({position}, v, at)"
    if field.leaf:
        found = f"{field.leaf.written} if {field.leaf.condition} else {unusual}"
    elif field.object_type or field.item_type:
        found = f"below({position}, v, at)"
    else:
        found = unusual
    return f"None if v is None else {found}" if field.is_nullable else found


class Plan:
    """The fields of a selection on an object type, and the factory of its row function.

    `with_arguments` are positions of fields with arguments whose resolvers are called directly, `batched` those of
    fields with batch resolvers.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = fields
        self.make_row = row_maker(fields)
        self.with_arguments = argument_positions(fields)
        self.batched = [position for position, field in enumerate(fields) if field.batch_resolver]


class _Entry:
    """The nodes of a selection, stored so that their ids stay unique, and its plan if it has one."""

    def __init__(self, nodes: tuple[FieldNode, ...]) -> None:
        self.nodes = nodes
        self.plan: Plan | None = None
        self.is_compiled = False


class Plans:
    """The plans of the selections of one operation.

    A selection is compiled on its second use, in the second row of a list or the second request of a cached document:
    compiling takes as long as about twenty rows do in graphql-core. `on_growth` is called with the number of fields by
    which the plans grow; a negative one if they start anew.
    """

    def __init__(
        self,
        operation: OperationDefinitionNode,
        fragments: Iterable[FragmentDefinitionNode],
        on_growth: Callable[[int], None] = lambda _fields: None,
    ) -> None:
        self._flags = flags(operation, fragments)
        self._entries: dict[tuple[Any, ...], _Entry] = {}
        self._on_growth = on_growth
        self.size = 0

    def find(
        self, executor: Executor[Any], kind: GraphQLObjectType, details: FieldDetailsList | None = None
    ) -> Plan | None:
        """Return the plan of a selection on an object type, by default the root selection of the operation.

        None on the first use, and if the selection cannot be compiled.
        """
        nodes = tuple([detail.node for detail in details or ()])
        values = executor.variable_values.coerced
        key = (kind, *map(id, nodes), *map(values.get, self._flags))
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(nodes)
            self._add(1)
            return None
        if not entry.is_compiled:
            entry.plan, entry.is_compiled = _compiled(executor, kind, details), True
            self._add(len(entry.plan.fields) if entry.plan else 0)
        return entry.plan

    def _add(self, size: int) -> None:
        self.size += size
        self._on_growth(size)
        if self.size > MAX_PLANNED_FIELDS:
            self._entries.clear()
            self._on_growth(-self.size)
            self.size = 0


def _compiled(executor: Executor[Any], kind: GraphQLObjectType, details: FieldDetailsList | None) -> Plan | None:
    root = executor.schema, executor.fragments, executor.variable_values, kind, executor.operation
    try:
        collected = executor.collect_subfields(kind, details) if details else collect_fields(*root)
    except GraphQLError:  # null variable of a directive: graphql-core reports it
        return None
    if collected.new_defer_usages or len(collected.grouped_field_set) > MAX_FIELDS:
        return None
    fields = []
    for name, selected in collected.grouped_field_set.items():
        definition = executor.schema.get_field(kind, selected[0].node.name.value)
        if definition is None or any(detail.fragment_variable_values is not None for detail in selected):
            return None
        fields.append(Field(name, kind, definition, selected))
    return Plan(fields)
