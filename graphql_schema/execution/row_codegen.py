"""The Python source of row functions: straight-line code that reads, checks and encodes the fields of one object.

No client input becomes code: the source contains numbers, names of the schema, and response names as string literals.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graphql_schema.execution.fields import Field
from graphql_schema.execution.resolvers import Attribute, Call
from graphql_schema.execution.source_access import reader

RowMaker = Callable[..., Callable[[Any, Any], dict[str, Any]]]
"""Takes `odd`, `below`, `ordinary` and `linked` of `rows.Rows`, and the arguments of calls by position.

Returns the row function.
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
    lines = ["def make(odd, below, ordinary, linked, arguments):"]
    lines += [f"    given{position} = arguments[{position}]" for position in argument_positions(fields)]
    lines += ["    def row(source, at):"]
    if any(isinstance(field.reading, Attribute) for field in fields):
        lines += ["        get = source.get if type(source) is dict else reader(source)"]
    for position, field in enumerate(fields):
        lines += [f"        {line}" for line in _field(position, field)]
    entries = ", ".join(f"{field.name!r}: f{position}" for position, field in enumerate(fields))
    if any(field.batch_resolver for field in fields):
        lines += [f"        data = {{{entries}}}", "        linked(source, at, data)", "        return data"]
    else:
        lines += [f"        return {{{entries}}}"]
    return "\n".join([*lines, "    return row"])


def argument_positions(fields: Sequence[Field]) -> list[int]:
    """Return the positions of fields whose resolvers are called directly with arguments."""
    readings = [field.reading for field in fields]
    return [position for position, found in enumerate(readings) if isinstance(found, Call) and found.has_arguments]


def _field(position: int, field: Field) -> Iterator[str]:
    if field.is_typename:
        yield f"f{position} = {field.parent.name!r}"
        return
    if field.batch_resolver:
        yield f"f{position} = None"
        return
    match field.reading:
        case None:
            yield f"f{position} = ordinary({position}, source, at)"
            return
        case Attribute(name):
            yield f"v = get({name!r})"
        case Call(_, source, has_arguments):
            given = [source] if source else []
            given += [f"**given{position}"] if has_arguments else []
            yield f"try: v = call{position}({', '.join(given)})"
            yield "except Exception as error: v = error"
    yield f"f{position} = {_written(position, field)}"


def _written(position: int, field: Field) -> str:
    odd = f"odd({position}, v, at)"
    if field.leaf:
        found = f"{field.leaf.written} if {field.leaf.condition} else {odd}"
    elif field.object_type or field.item_type:
        found = f"below({position}, v, at)"
    else:
        found = odd
    return f"None if v is None else {found}" if field.is_nullable else found
