"""The listing of the reference API, read and held against the schema.

Run as a program it prints the table of its classes, what covers each and the test that shows it:
`python -m tests.conformance.listing`.
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
"""The GraphQL types that each type of the listing may have; a class has its own name."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A field of a class of the listing; a TypedDict's has no type there."""

    of: str
    name: str
    type: str | None
    required: bool

    @property
    def key(self) -> str:
        """Its class and name."""
        return f"{self.of}.{self.name}"

    @property
    def place(self) -> str:
        """Where the schema has it by the rules."""
        camel = to_camel_case(self.name)
        if root := ROOT_FIELDS.get(self.of):
            return f"{root}({camel})"
        place = covering(self.of).place
        return f"{self.of if place is None or '.' in place else place}.{camel}"


def read() -> dict[str, list[Listed]]:
    """The classes and their fields."""
    text = Path(__file__).with_name("listing.json").read_text()
    classes: dict[str, dict[str, Any]] = json.loads(text)
    return {
        name: [Listed(name, field, found["type"], found["required"]) for field, found in fields.items()]
        for name, fields in classes.items()
    }


def covering(name: str) -> Instead:
    """What covers a class."""
    root = ROOT_FIELDS.get(name)
    return CLASSES.get(name) or Instead("a request is a root field" if root else "a type of its name", root or name)


def find(schema: GraphQLSchema, place: str) -> object | None:
    """What is at a place of a schema; None where nothing is."""
    match = _PLACE.fullmatch(place)
    assert match, place
    kind, field, argument = match.groups()
    found: object = schema.type_map.get(kind)
    if field:
        found = getattr(found, "fields", {}).get(field)
    return getattr(found, "args", {}).get(argument) if argument else found


def faults(schema: GraphQLSchema) -> Iterator[str]:
    """What of the listing the schema lacks, or has otherwise."""
    for name, fields in read().items():
        yield from _faults_of(schema, name, covering(name))
        for field in fields:
            instead = FIELDS.get(field.key)
            if instead is None or (instead.place and instead.type is None):
                yield from _faults_of_field(schema, field, instead.place if instead else None)
            else:
                yield from _faults_of(schema, field.key, instead)


def needless(schema: GraphQLSchema) -> Iterator[str]:
    """The exceptions that nothing in the listing needs."""
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


def _is_written_so(node: Any, field: Listed) -> bool:  # noqa: ANN401 -- a field of an input, or an argument
    """Whether it takes what is listed, and must be given only where the listing says so."""
    has_default = node.default is not None or node.default_value is not Undefined
    must_be_given = isinstance(node.type, GraphQLNonNull) and not has_default
    listed, _ = _nullable(field)
    kind = node.type.of_type if isinstance(node.type, GraphQLNonNull) else node.type
    return must_be_given == field.required and _fits(kind, listed)


def _is_read_so(node: Any, field: Listed) -> bool:  # noqa: ANN401 -- a field of an object
    """Whether it gives what is listed, null only where the listing says so, or its path leads nowhere."""
    listed, is_nullable = _nullable(field)
    is_nullable = is_nullable or "path" in node.args
    kind = node.type.of_type if isinstance(node.type, GraphQLNonNull) else node.type
    return isinstance(node.type, GraphQLNonNull) != is_nullable and _fits(kind, listed)


def _nullable(field: Listed) -> tuple[ast.expr, bool]:
    """The type of a field without null, and whether it may be null."""
    listed = ast.parse(str(field.type), mode="eval").body
    match listed:
        case ast.Subscript(ast.Name("Optional"), inner):
            return inner, True
        case ast.Subscript(ast.Name("Union"), ast.Tuple([*members, ast.Constant(None)])):
            union = ast.Subscript(ast.Name("Union"), ast.Tuple(members))
            return (members[0] if len(members) == 1 else union), True
    return listed, False


def _fits(kind: Any, listed: ast.expr) -> bool:  # noqa: ANN401 -- any type of GraphQL
    """Whether a GraphQL type, which may be null or not, is a listed one."""
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


def _is_literal(kind: Any, values: ast.expr) -> bool:  # noqa: ANN401 -- any type of GraphQL
    """Whether it is an enum of some values; of one alone, a text or an enum that has it beside those of others."""
    found = ast.literal_eval(values)
    names = {name.lower() for name in getattr(kind, "values", ())}
    return str(kind) == "String" or found in names if isinstance(found, str) else names == set(found)


def _is_union(kind: Any, members: list[ast.expr]) -> bool:  # noqa: ANN401 -- any type of GraphQL
    """Whether it is a union of the same classes; what is either text or JSON, or number or text, is JSON."""
    if isinstance(kind, GraphQLUnionType):
        return {str(each) for each in kind.types} == {ast.unparse(each) for each in members}
    return str(kind) in ("JSON", "Literal")


def table() -> Iterator[str]:
    """The lines of the table, in Markdown."""
    from tests.conformance.proofs import PROOFS  # noqa: PLC0415

    yield "| class | in the schema | shown by |"
    yield "| --- | --- | --- |"
    for name in read():
        instead = covering(name)
        place = f"`{instead.place}`" if instead.place else instead.reason
        yield f"| `{name}` | {place} | {PROOFS.get(name, '')} |"


if __name__ == "__main__":
    print("\n".join(table()))  # noqa: T201
