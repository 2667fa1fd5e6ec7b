"""Descriptions of a schema: the docstrings of its types, of their attributes and of their resolvers."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import cleandoc, getdoc, getsourcefile
from itertools import pairwise
from pathlib import Path
from typing import Final

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF

_TYPE: Final = "__strawberry_definition__"
"""Attribute of the classes of types and enums."""

_SECTION: Final = re.compile(r"\n(Args|Raises|Returns|Yields):\n((?: {4}.*(?:\n|$))*)")
_ARGUMENT: Final = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


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
    declared = field.extensions[_DEFINITION]
    docstring = docstrings.get(declared.python_name, "")
    field.description = description_in(docstring) or field.description
    if isinstance(field, GraphQLField) and declared.base_resolver:
        resolver = getdoc(declared.base_resolver.wrapped_func) or ""
        descriptions = _arguments_in(docstring) or _arguments_in(resolver)
        for argument in field.args.values():
            name = argument.extensions[_DEFINITION].python_name
            argument.description = descriptions.pop(name, argument.description)
        if descriptions:
            raise ValueError(
                f"the docstring of {declared.python_name} describes arguments that the field does not have: "
                f"{', '.join(descriptions)}"
            )
