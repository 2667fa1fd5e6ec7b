"""Descriptions of a schema: the docstrings of its types, of their attributes and of their resolvers."""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import getdoc, getsource
from itertools import pairwise
from typing import Final

from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF


def description_of(documented: object) -> str:
    """Return the docstring of a type or a resolver in one line, which is its description in the SDL."""
    return _in_one_line(getdoc(documented) or "")


def descriptions_of_attributes(documented: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class and of its bases, each in one line.

    Raises:
        RuntimeError: if the source of their modules is missing.
    """
    found: dict[str, str] = {}
    for each in reversed(documented.__mro__[:-1]):
        # Strawberry's copies of generic types have no source, but their bases have.
        if getattr(sys.modules.get(each.__module__), each.__name__, None) is each:
            found |= _docstrings(each.__module__).get(each.__name__, {})
    return found


@cache
def _docstrings(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the docstrings below attributes by the names of the module's classes."""
    try:
        tree = ast.parse(getsource(sys.modules[module]))
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
                yield name, _in_one_line(text)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def describe(schema: GraphQLSchema) -> None:
    """Describe the types of a schema, their fields and the values of enums by the docstrings of their classes."""
    for kind in schema.type_map.values():
        definition = kind.extensions.get(_DEFINITION)
        documented = getattr(definition, "origin", None) or getattr(definition, "wrapped_cls", None)
        if not documented:
            continue
        kind.description = kind.description or description_of(documented)
        descriptions = descriptions_of_attributes(documented)
        if isinstance(kind, GraphQLEnumType):
            for name, value in kind.values.items():
                value.description = descriptions.get(name, value.description)
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field in kind.fields.values():
                name = field.extensions[_DEFINITION].python_name
                field.description = descriptions.get(name, field.description)
