"""Field factories, arguments, descriptions from docstrings, and the fields that a request selects."""

import ast
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, wraps
from inspect import Parameter, cleandoc, getdoc, getsourcefile, signature
from itertools import pairwise
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Final, Protocol, TypeVar, Unpack

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionSetNode,
)
from strawberry.scalars import JSON
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.utils.str_converters import to_snake_case

from graphql_schema.context import Info
from graphql_schema.execution.plans import BARE, is_included
from graphql_schema.execution.scalars import BigInt
from graphql_schema.limits.cost_weights import Cost, declared
from stores.errors import NotFoundError, ObjectDeletedError, StoreError
from stores.paging import JsonField, Row, ValueField
from stores.usage.classes import BY_NAME, FIELDS

_Resolver = TypeVar("_Resolver", bound=Callable[..., Any])
_Found = TypeVar("_Found")
_Stored = TypeVar("_Stored")
_Stored_co = TypeVar("_Stored_co", covariant=True)
_Type = TypeVar("_Type", bound=type)

FieldDefinition = Any
"""A field of a type or an input. In the class it has the type of its annotation, which its factory cannot know."""

RawInfo = Any
"""Resolve info of graphql-core; Strawberry passes its variables as a plain dict."""

TYPENAME: Final = "__typename"
"""Key of a row with the name of its GraphQL type, for fields of several types."""

_SIGNATURE: Final = "__signature__"
_NUMBER: Final = re.compile("(?<=[a-z]{2})(?=[0-9])")

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF

_TYPE: Final = "__strawberry_definition__"
"""Attribute of the classes of types and enums."""

_SECTION: Final = re.compile(r"\n(Args|Raises|Returns|Yields):\n((?: {4}.*(?:\n|$))*)")
_ARGUMENT: Final = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def argument(description: str) -> object:
    """Annotation of an argument with its description."""
    return strawberry.argument(description=description)


ProjectId = Annotated[strawberry.ID, argument("Id of the project, as entity/project.")]

User = Annotated[str | None, argument("User who writes; the caller if omitted.")]

JsonPath = Annotated[
    str | None,
    argument(
        "Dotted path of the part to return, such as messages.0.content; null if there is no such value. A "
        "number is an index in a list and a key in an object; write a dot inside a key as \\."
    ),
]


def plain_field(description: str | None = None, **cost: Unpack[Cost]) -> FieldDefinition:
    """Plain field with a cost, or with a description that no docstring below it can have, such as a shared one."""
    return strawberry.field(description=description, metadata=declared(cost))


def resolved_field(
    description: str | None = None, returns: object = None, **cost: Unpack[Cost]
) -> Callable[[_Resolver], _Resolver]:
    """Decorate a method that resolves a field.

    Args:
        description: text in the SDL; the method's docstring by default.
        returns: GraphQL type if the method returns a row of a store; the method's annotation if None.
        cost: cost of the field, as far as it differs from the defaults in `limits.cost_weights`.
    """

    def decorate(resolver: Any) -> Any:  # noqa: ANN401 -- Strawberry replaces the method by a field
        text = description or description_of(resolver)
        return strawberry.field(resolver=resolver, description=text, graphql_type=returns, metadata=declared(cost))

    return decorate


def subscription_field(*, of: object) -> Callable[[_Resolver], _Resolver]:
    """Decorate a method that yields rows of a store: a subscription with events of the GraphQL type `of`."""
    kind = GenericAlias(AsyncGenerator, (of, None))

    def decorate(resolver: Any) -> Any:  # noqa: ANN401 -- as above
        return strawberry.subscription(resolver=resolver, description=description_of(resolver), graphql_type=kind)

    return decorate


def computed_field(
    of: Callable[[Any], object], returns: object = None, description: str | None = None, **cost: Unpack[Cost]
) -> FieldDefinition:
    """Field whose value is `of(source)`, of the GraphQL type `returns`; of the annotated type if that is None.

    The docstring below the field describes it, or else `description`.
    """

    def resolve(parent: strawberry.Parent[Any]) -> Any:  # noqa: ANN401 -- Strawberry replaces it by the field's type
        return of(parent)

    setattr(resolve, BARE, of)
    return strawberry.field(resolver=resolve, description=description, graphql_type=returns, metadata=declared(cost))


def json_field(source: JsonField | ValueField, description: str | None = None) -> FieldDefinition:
    """JSON field of rows, with the argument `path`."""

    def resolve(parent: strawberry.Parent[Any], path: JsonPath = None) -> JSON | None:
        try:
            text = source.text_at(parent, path)
        except StoreError as error:
            raise error.prefixed("path") from None
        return None if text is None else JSON(text)

    setattr(resolve, BARE, source.text)
    return strawberry.field(resolver=resolve, description=description)


def optional_input(description: str) -> FieldDefinition:
    """Optional field of an input; None if omitted."""
    return strawberry.field(description=description, default=None)


class _Input(Protocol[_Stored_co]):
    """An input that has an equivalent in the stores."""

    def to_store(self) -> _Stored_co: ...


def to_store(value: _Input[_Stored] | None) -> _Stored | None:
    """Convert an input to its form in the stores; None if the client omitted it."""
    return None if value is None else value.to_store()


async def found_or_null(search: Awaitable[_Found]) -> _Found | None:
    """Await a lookup; return None if the entity is missing or deleted."""
    try:
        return await search
    except (NotFoundError, ObjectDeletedError):
        return None


def with_class_counts(cls: _Type) -> _Type:
    """Class decorator, applied below `strawberry.type`: add a field for each class of tokens."""
    for name, field in FIELDS.items():
        cls.__annotations__[field] = BigInt
        setattr(cls, field, plain_field(f"{BY_NAME[name].description}; 0 if there are none."))
    return cls


def parameters(optional: Mapping[str, object], required: Mapping[str, object] | None = None) -> list[Parameter]:
    """Return keyword parameters by name and annotation; the optional ones follow, with the default None."""
    kind = Parameter.KEYWORD_ONLY
    return [
        *[Parameter(name, kind, annotation=annotation) for name, annotation in (required or {}).items()],
        *[Parameter(name, kind, default=None, annotation=annotation) for name, annotation in optional.items()],
    ]


def declare_arguments(resolver: Callable[..., Any], name: str, arguments: list[Parameter]) -> None:
    """Replace the parameter `name` in a resolver's signature, from which Strawberry reads the field's arguments."""
    declared_before, replaced = signature(resolver), []
    for parameter in declared_before.parameters.values():
        replaced += arguments if parameter.name == name else [parameter]
    setattr(resolver, _SIGNATURE, declared_before.replace(parameters=replaced))


def grouped_arguments(
    name: str, arguments: list[Parameter], make: Callable[[Info, dict[str, Any]], object]
) -> Callable[[Callable[..., Awaitable[_Found]]], Callable[..., Awaitable[_Found]]]:
    """Decorate an async resolver: replace its argument `name` by `arguments`, whose values `make` combines."""
    names = {each.name for each in arguments}

    def spread(resolver: Callable[..., Awaitable[_Found]]) -> Callable[..., Awaitable[_Found]]:
        @wraps(resolver)
        async def resolve(*source: object, info: Info, **values: Any) -> _Found:
            values[name] = make(info, {each: values.pop(each) for each in names & values.keys()})
            return await resolver(*source, info=info, **values)

        declare_arguments(resolve, name, arguments)
        return resolve

    return spread


@lru_cache(2_000)  # bounded: fields outside the schema are rejected before
def _python_name(name: str) -> str:
    """Return the snake_case name of a field.

    A number after a word is a word of its own, as in cacheWrite5mTokens; p50 stays one word.
    """
    return to_snake_case(_NUMBER.sub("_", name))


def selected_fields(info: Info, *paths: str, types: Sequence[str] = ()) -> set[str]:
    """Return the snake_case names of the fields selected at dotted paths below the current field.

    `selected_fields(info, "nodes", "edges.node")` are the fields of a connection's nodes by both paths. Without a path,
    the selection of the current field itself is returned. With `types`, it is that for values of these object or
    interface types.
    """
    raw: RawInfo = info._raw_info  # noqa: SLF001 -- Strawberry has no public way to the nodes
    found: set[str] = set()
    for path in paths or ("",):
        nodes: Sequence[FieldNode] = raw.field_nodes
        for step in filter(None, path.split(".")):
            nodes = [node for node in _children(nodes, raw) if node.name.value == step]
        found |= {_python_name(node.name.value) for node in _children(nodes, raw, types)}
    return found


def _children(nodes: Sequence[FieldNode], raw: RawInfo, types: Sequence[str] = ()) -> list[FieldNode]:
    seen: set[str] = set()
    return [child for node in nodes if node.selection_set for child in _fields(node.selection_set, raw, seen, types)]


def _fields(
    selections: SelectionSetNode, raw: RawInfo, seen: set[str], types: Sequence[str] = ()
) -> Iterator[FieldNode]:
    for selection in selections.selections:
        if not is_included(selection, raw.variable_values):
            continue
        match selection:
            case FieldNode():
                yield selection
            case InlineFragmentNode() if _is_of(selection, types):
                yield from _fields(selection.selection_set, raw, seen, types)
            case FragmentSpreadNode() if selection.name.value not in seen:
                seen.add(selection.name.value)
                fragment = raw.fragments[selection.name.value]
                if _is_of(fragment, types):
                    yield from _fields(fragment.selection_set, raw, seen, types)


def _is_of(fragment: InlineFragmentNode | FragmentDefinitionNode, types: Sequence[str]) -> bool:
    """Return True if a fragment applies to a value of `types`; without `types` it applies to any value."""
    condition = fragment.type_condition
    return not types or condition is None or condition.name.value in types


@strawberry.interface
class Node:
    """Any stored entity, found by its ref: see node.

    The global id is ref, because id is only unique in a project. Relay needs nodeInterfaceIdField: "ref", and Apollo
    Client keyFields: ["ref"].
    """

    # A docstring below would describe the field of every entity type as well.
    ref: strawberry.ID = plain_field(
        "Global id of the entity: node finds it again, and client caches use it as the key."
    )

    @classmethod
    def resolve_type(cls, row: Row, *_: object) -> str:
        """Return the name of a row's GraphQL type."""
        name: str = row[TYPENAME]
        return name


def node_ref(of: Callable[[Row], str]) -> FieldDefinition:
    """Field `ref` of an entity type, computed from a row by `of`."""
    return computed_field(of, description="Ref of the entity, which node resolves.")


def skip_type_checks(schema: GraphQLSchema) -> None:
    """Remove the type check of entities: rows carry no type, and `Node.resolve_type` names it."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and any(each.name == Node.__name__ for each in kind.interfaces):
            kind.is_type_of = None


def description_of(documented: object) -> str:
    """Return the description of a type or a resolver, from its docstring."""
    return description_in(getdoc(documented) or "")


def description_in(docstring: str) -> str:
    """Return the description in a docstring: its text in one line, without sections such as `Args:`."""
    return _in_one_line(_SECTION.sub("", docstring))


def _arguments_in(docstring: str) -> dict[str, str]:
    """Return the descriptions of arguments in the section `Args:` of a docstring, by name."""
    sections = "".join(text for title, text in _SECTION.findall(docstring) if title == "Args")
    return {name: _in_one_line(text) for name, text in _ARGUMENT.findall(sections)}


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def docstrings_of_attributes(documented: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a type and of its bases.

    Raises:
        RuntimeError: if the source of their modules is missing.
    """
    found: dict[str, str] = {}
    for each in reversed(documented.__mro__):
        # Strawberry's copies of generic types are in no module, but their bases are.
        in_module = getattr(sys.modules.get(each.__module__), each.__name__, None) is each
        if in_module and _TYPE in vars(each):
            found |= _docstrings(each.__module__).get(each.__name__, {})
    return found


@cache
def _docstrings(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the docstrings below attributes by the names of the module's classes."""
    try:
        # Not by `getsource`, which would keep the source in memory.
        tree = ast.parse(Path(getsourcefile(sys.modules[module]) or "").read_text(encoding="utf-8"))
    except (OSError, TypeError) as error:
        raise RuntimeError(
            f"the source of {module} is missing, and the schema takes its descriptions from there; install LoomQL "
            "with its .py files"
        ) from error
    return {node.name: dict(_below_attributes(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _below_attributes(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, below in pairwise(node.body):
        match statement, below:
            case (
                ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]),
                ast.Expr(ast.Constant(str(text))),
            ):
                yield name, cleandoc(text)


def describe(schema: GraphQLSchema) -> None:
    """Describe the types of a schema, their fields, arguments and enum values by docstrings.

    Raises:
        ValueError: if a docstring describes an argument that its field does not have.
    """
    for kind in schema.type_map.values():
        definition = kind.extensions.get(_DEFINITION)
        documented = getattr(definition, "origin", None) or getattr(definition, "wrapped_cls", None)
        if not documented:
            continue
        kind.description = kind.description or description_of(documented)
        docstrings = docstrings_of_attributes(documented)
        if isinstance(kind, GraphQLEnumType):
            for name, value in kind.values.items():
                value.description = description_in(docstrings.get(name, "")) or value.description
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field in kind.fields.values():
                _describe_field(field, docstrings)


def _describe_field(field: GraphQLField | GraphQLInputField, docstrings: Mapping[str, str]) -> None:
    definition = field.extensions[_DEFINITION]
    docstring = docstrings.get(definition.python_name, "")
    field.description = description_in(docstring) or field.description
    if isinstance(field, GraphQLField) and definition.base_resolver:
        resolver = getdoc(definition.base_resolver.wrapped_func) or ""
        descriptions = _arguments_in(docstring) or _arguments_in(resolver)
        for each in field.args.values():
            name = each.extensions[_DEFINITION].python_name
            each.description = descriptions.pop(name, each.description)
        if descriptions:
            raise ValueError(
                f"the docstring of {definition.python_name} describes arguments that the field does not have: "
                f"{', '.join(descriptions)}"
            )
