"""Compares the listing of the reference API with the schema.

`python -m tests.conformance.listing` prints a table of the classes, their place in the schema and the test of each.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    get_named_type,
)
from strawberry.utils.str_converters import to_camel_case

from tests.conformance.coverage import CLASSES, FIELDS, ROOT_FIELDS, Instead

_PLACE: Final = re.compile(r"(\w+)(?:\.(\w+)(?:\((\w+)\))?)?")

_KINDS: Final = {
    "str": ("String", "ID"),
    "int": ("Int", "BigInt"),
    "float": ("Float",),
    "bool": ("Boolean",),
    "datetime": ("DateTime",),
    "bytes": ("Base64",),
    "dict": ("JSON",),
    "Any": ("JSON",),
    "Query": ("QueryInput",),
    "SummaryMap": ("JSON",),
    "SummaryInsertMap": ("JSON",),
}
"""GraphQL types that match each type of the listing; any other class matches the type with its name."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A field of a class in the listing; fields of a TypedDict have no type there."""

    of: str
    name: str
    type: str | None
    required: bool

    @property
    def key(self) -> str:
        """Return the names of its class and of the field."""
        return f"{self.of}.{self.name}"

    @property
    def place(self) -> str:
        """Return the place that covers the field by the general rules."""
        camel = to_camel_case(self.name)
        if root := ROOT_FIELDS.get(self.of):
            return f"{root}({camel})"
        place = covering(self.of).place
        return f"{self.of if place is None or '.' in place else place}.{camel}"


def read() -> dict[str, list[Listed]]:
    """Return the classes and their fields."""
    text = Path(__file__).with_name("listing.json").read_text()
    classes: dict[str, dict[str, Any]] = json.loads(text)
    return {
        name: [Listed(name, field, found["type"], found["required"]) for field, found in fields.items()]
        for name, fields in classes.items()
    }


def covering(name: str) -> Instead:
    """Return the place that covers a class, and why."""
    root = ROOT_FIELDS.get(name)
    return CLASSES.get(name) or Instead("a request is a root field" if root else "a type of its name", root or name)


def find(schema: GraphQLSchema, place: str) -> object | None:
    """Return the type, field or argument at a place of the schema, or None if it does not exist."""
    match = _PLACE.fullmatch(place)
    assert match, place
    kind, field, argument = match.groups()
    found: object = schema.type_map.get(kind)
    if field:
        found = getattr(found, "fields", {}).get(field)
    return getattr(found, "args", {}).get(argument) if argument else found


def faults(schema: GraphQLSchema) -> Iterator[str]:
    """Yield an error for each class or field that the schema lacks or defines differently."""
    for name, fields in read().items():
        yield from _faults_of(schema, name, covering(name))
        for field in fields:
            instead = FIELDS.get(field.key)
            if instead is None or (instead.place and instead.type is None):
                yield from _faults_of_field(schema, field, instead.place if instead else None)
            else:
                yield from _faults_of(schema, field.key, instead)


def needless(schema: GraphQLSchema) -> Iterator[str]:
    """Yield each exception that the listing does not need."""
    listed = read()
    fields = {field.key: field for each in listed.values() for field in each}
    for name in ROOT_FIELDS.keys() | CLASSES.keys():
        if name not in listed or (name in CLASSES and (name in ROOT_FIELDS or name in schema.type_map)):
            yield name
    for key in FIELDS:
        if key not in fields or not list(_faults_of_field(schema, fields[key])):
            yield key


def _faults_of(schema: GraphQLSchema, name: str, instead: Instead) -> Iterator[str]:
    if instead.place is None:
        return
    found: Any = find(schema, instead.place)
    if found is None:
        yield f"{name}: the schema has no {instead.place}"
    elif instead.type and str(found.type) != instead.type:
        yield f"{name}: {instead.place} is {found.type}, not {instead.type}"


def _faults_of_field(schema: GraphQLSchema, field: Listed, place: str | None = None) -> Iterator[str]:
    place = place or field.place
    found: Any = find(schema, place)
    if found is None:
        yield f"{field.key}: the schema has no {place}"
    elif field.type and not (_is_read_so if isinstance(found, GraphQLField) else _is_written_so)(found, field):
        required = "required " if field.required else ""
        yield f"{field.key}: {place} is {found.type}, and listed as {required}{field.type}"


def _is_written_so(node: Any, field: Listed) -> bool:
    """Return whether an input accepts the listed type and is required only if the listing requires it."""
    has_default = node.default is not None or node.default_value is not Undefined
    must_be_given = isinstance(node.type, GraphQLNonNull) and not has_default
    listed, _ = _nullable(field)
    kind = node.type.of_type if isinstance(node.type, GraphQLNonNull) else node.type
    return must_be_given == field.required and _fits(kind, listed)


def _is_read_so(node: Any, field: Listed) -> bool:
    """Return whether an output has the listed type and is nullable only if the listing says so.

    A field with the argument `path` is also nullable, because the path may not exist.
    """
    listed, is_nullable = _nullable(field)
    is_nullable = is_nullable or "path" in node.args
    kind = node.type.of_type if isinstance(node.type, GraphQLNonNull) else node.type
    return isinstance(node.type, GraphQLNonNull) != is_nullable and _fits(kind, listed)


def _nullable(field: Listed) -> tuple[ast.expr, bool]:
    """Return the type of a field without null, and whether it may be null."""
    listed = ast.parse(str(field.type), mode="eval").body
    match listed:
        case ast.Subscript(ast.Name("Optional"), inner):
            return inner, True
        case ast.Subscript(ast.Name("Union"), ast.Tuple([*members, ast.Constant(None)])):
            union = ast.Subscript(ast.Name("Union"), ast.Tuple(members))
            return (members[0] if len(members) == 1 else union), True
    return listed, False


def _fits(kind: Any, listed: ast.expr) -> bool:
    """Return whether a GraphQL type, nullable or not, matches a listed type."""
    match listed:
        case ast.Name("list"):
            return isinstance(kind, GraphQLList) or str(kind) == "JSON"
        case ast.Subscript(ast.Name("list"), item):
            return (
                isinstance(kind, GraphQLList)
                and (isinstance(kind.of_type, GraphQLNonNull) or ast.unparse(item) == "Any")
                and _fits(get_named_type(kind), item)
            )
        case ast.Subscript(ast.Name("dict")):
            return str(kind) == "JSON"
        case ast.Subscript(ast.Name("Literal"), values):
            return _is_literal(kind, values)
        case ast.Subscript(ast.Name("Union"), ast.Tuple(members)):
            return _is_union(kind, members)
        case ast.Name(name):
            return str(kind) in _KINDS.get(name, (name,))
    return False


def _is_literal(kind: Any, values: ast.expr) -> bool:
    """Return whether a type is an enum of exactly these values.

    A single value may also be a String, or one of several values of an enum.
    """
    found = ast.literal_eval(values)
    names = {name.lower() for name in getattr(kind, "values", ())}
    return str(kind) == "String" or found in names if isinstance(found, str) else names == set(found)


def _is_union(kind: Any, members: list[ast.expr]) -> bool:
    """Return whether a type is a union of the same classes, or a scalar that takes any of them."""
    if isinstance(kind, GraphQLUnionType):
        return {str(each) for each in kind.types} == {ast.unparse(each) for each in members}
    return str(kind) in ("JSON", "Literal")


def table() -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    from tests.conformance.proofs import PROOFS  # noqa: PLC0415

    yield "| class | in the schema | shown by |"
    yield "| --- | --- | --- |"
    for name in read():
        instead = covering(name)
        place = f"`{instead.place}`" if instead.place else instead.reason
        yield f"| `{name}` | {place} | {PROOFS.get(name, '')} |"


if __name__ == "__main__":
    print("\n".join(table()))  # noqa: T201
