"""Plans: selections compiled to row functions in Python, shared by the requests of an operation.

A row function is straight-line code that reads, checks and encodes the fields of one object. No client input becomes
code: it contains numbers, names of the schema, and response names as string literals.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    OperationDefinitionNode,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, collect_fields

from graphql_schema.directives import flags
from graphql_schema.execution.fields import Attribute, Call, Field, reader

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor

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


MAX_FIELDS: Final = 500
"""Maximum number of fields of a compiled selection; a larger one takes longer to compile than it saves."""

MAX_PLANNED_FIELDS: Final = 5_000
"""Maximum number of fields in all plans of an operation, each of about one kilobyte; beyond it they start anew."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The fields of a selection on an object type, and the factory of its row function.

    `with_arguments` are positions of fields with arguments whose resolvers are called directly, `batched` those of
    fields with batch resolvers.
    """

    fields: tuple[Field, ...]
    make_row: RowMaker
    with_arguments: tuple[int, ...]
    batched: tuple[int, ...]

    @classmethod
    def of(cls, fields: Sequence[Field]) -> "Plan":
        """Build the plan of some fields."""
        links = tuple(position for position, field in enumerate(fields) if field.batch_resolver)
        return cls(tuple(fields), row_maker(fields), tuple(argument_positions(fields)), links)


@dataclass(slots=True)
class Entry:
    """The nodes of a selection, stored so that their ids stay unique, and its plan.

    `plan` is None until `is_known`, and afterwards for a selection without a plan.
    """

    nodes: tuple[FieldNode, ...]
    plan: Plan | None = None
    is_known: bool = False


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
        self._entries: dict[tuple[Any, ...], Entry] = {}
        self._on_growth = on_growth
        self.size = 0

    def find(self, executor: "CompilingExecutor", kind: GraphQLObjectType, details: FieldDetailsList) -> Entry:
        """Return the entry of a selection on an object type."""
        nodes = tuple([detail.node for detail in details])
        return self._entry(executor, kind, nodes, lambda: executor.collect_subfields(kind, details))

    def root(self, executor: "CompilingExecutor", kind: GraphQLObjectType) -> Entry:
        """Return the entry of the operation's root selection."""
        selection = executor.schema, executor.fragments, executor.variable_values, kind, executor.operation
        return self._entry(executor, kind, (), lambda: collect_fields(*selection))

    def _entry(
        self,
        executor: "CompilingExecutor",
        kind: GraphQLObjectType,
        nodes: tuple[FieldNode, ...],
        collect: Callable[[], CollectedFields],
    ) -> Entry:
        values = executor.variable_values.coerced
        key = (kind, *map(id, nodes), *map(values.get, self._flags))
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(nodes)
            self._add(1)
        elif not entry.is_known:
            entry.plan = _plan(executor, kind, collect)
            entry.is_known = True
            self._add(len(entry.plan.fields) if entry.plan else 0)
        return entry

    def _add(self, size: int) -> None:
        self.size += size
        self._on_growth(size)
        if self.size > MAX_PLANNED_FIELDS:
            self._entries.clear()
            self._on_growth(-self.size)
            self.size = 0


def _plan(
    executor: "CompilingExecutor", kind: GraphQLObjectType, collect: Callable[[], CollectedFields]
) -> Plan | None:
    try:
        collected = collect()
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
    return Plan.of(fields)
