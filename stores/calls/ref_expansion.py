"""Expanding columns: places in calls at which the value that a ref leads to stands in for the ref."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from stores.calls.fields import CALL_FIELDS
from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError
from stores.json import codec, paths
from stores.paging import Row
from stores.query.fields import Access
from stores.refs import SCHEME, Ref
from stores.refs.resolver import resolve
from stores.refs.store import inner_ref
from stores.refs.targets import MAX_CHARACTERS, Budget, TargetReader

MAX_COLUMNS: Final = 20

_ARGUMENT: Final = "expand_columns"


@dataclass(frozen=True, slots=True)
class Column:
    """A place in the JSON of calls: where queries find it, and the keys that lead to it in its field."""

    access: Access
    steps: tuple[str, ...]

    @property
    def field(self) -> str:
        """The field that it lies in."""
        return self.access.field.name


@dataclass(frozen=True)
class Expansion:
    """Which columns are expanded, by name; without values returned, only queries and sorts see through the refs."""

    names: Sequence[str]
    returns_values: bool = True

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns, each once, those with the fewest keys first.

        Raises:
            BadInputError: one is no place in the JSON of calls, or there are more than `MAX_COLUMNS`.
        """
        if len(self.names) > MAX_COLUMNS:
            raise BadInputError(f"has {len(self.names):,} columns; the limit is {MAX_COLUMNS}", _ARGUMENT)
        found = [_column(name, f"{_ARGUMENT}.{position}") for position, name in enumerate(self.names)]
        return tuple(sorted(dict.fromkeys(found), key=lambda column: len(column.steps)))

    async def expand(self, sources: TargetReader, project_id: str, rows: Iterable[Row], wanted: Iterable[str]) -> None:
        """Write, into the wanted JSON of rows, values in place of refs; a few commands for each depth of columns.

        Where a ref leads to nothing, or out of the project, it stays.

        Raises:
            BadInputError: the values take more than `sources.MAX_CHARACTERS`.
        """
        if not self.returns_values:
            return
        fields = {column.field for column in self.columns}.intersection(wanted)
        page = _Page(project_id)
        async for row, field in cooperative((row, field) for row in rows for field in fields):
            page.add(row, field)
        try:
            for _, columns in groupby(self.columns, key=lambda column: len(column.steps)):
                await page.expand(sources, list(columns))
            async for payload in cooperative(page.payloads):
                payload.write()
        except BadInputError as error:
            raise error.prefixed(_ARGUMENT) from None


def _column(name: str, argument: str) -> Column:
    try:
        access = CALL_FIELDS[name]
        _, *steps = paths.split(name)
    except BadInputError as error:
        raise BadInputError(error.message, argument) from None
    if access.field.text_path is None:
        raise BadInputError(
            f"{name[:100]} holds no refs to expand; write a path into inputs, output, attributes or summary, such as "
            "inputs.model",
            argument,
        )
    return Column(access, tuple(steps))


@dataclass(slots=True)
class _Payload:
    """One JSON field of a row, parsed. Its values are shared with others, so that none is changed in place."""

    row: Row
    field: str
    value: Any
    is_changed: bool = False

    def ref_at(self, column: Column) -> str | None:
        """The text at a column that may be a ref; columns lead through objects only."""
        value = self.value
        for step in column.steps:
            value = value.get(step) if isinstance(value, dict) else None
        return value if isinstance(value, str) and value.startswith(SCHEME) else None

    def put(self, column: Column, value: object) -> None:
        self.value, self.is_changed = _with(self.value, column.steps, value), True

    def write(self) -> None:
        if self.is_changed:
            self.row["json"][self.field] = codec.encode(self.value)


def _with(value: Any, steps: Sequence[str], new: object) -> Any:  # noqa: ANN401 -- any JSON
    """A JSON value with another one at the end of the steps, made without changing it."""
    return {**value, steps[0]: _with(value[steps[0]], steps[1:], new)} if steps else new


class _Page:
    """The JSON of a page's rows that may hold refs, and what these lead to, each read once."""

    def __init__(self, project_id: str) -> None:
        self.payloads: list[_Payload] = []
        self._project_id = project_id
        self._values: dict[str, tuple[object, int] | None] = {}
        self._size = 0
        self._budget = Budget()

    def add(self, row: Row, field: str) -> None:
        text = row.get("json", {}).get(field)
        if text and SCHEME in text:
            self.payloads.append(_Payload(row, field, codec.loads(text.encode())))

    async def expand(self, sources: TargetReader, columns: list[Column]) -> None:
        """Expand columns none of which lies inside another."""
        found = [place async for place in cooperative(self._places(columns))]
        await self._read(sources, {ref for _, _, ref in found})
        async for payload, column, ref in cooperative(found):
            if known := self._values[ref]:
                value, size = known
                self._count(size)
                payload.put(column, value)

    def _places(self, columns: list[Column]) -> Iterator[tuple[_Payload, Column, str]]:
        for payload in self.payloads:
            for column in columns:
                if column.field == payload.field and (ref := payload.ref_at(column)):
                    yield payload, column, ref

    async def _read(self, sources: TargetReader, texts: set[str]) -> None:
        new = texts - self._values.keys()
        refs: dict[str, Ref] = {text: ref for text in new if (ref := inner_ref(self._project_id, text))}
        resolved = await resolve(sources, refs.values(), self._budget)
        self._values |= dict.fromkeys(new)
        async for text, ref in cooperative(refs.items()):
            json = resolved[ref].text
            value = None if json is None else codec.loads(json.encode())
            if json is not None and value is not None:
                named = {**value, "_ref": text} if isinstance(value, dict) and "_ref" not in value else value
                self._values[text] = named, len(json)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_CHARACTERS:
            raise BadInputError(f"put more than {MAX_CHARACTERS:,} characters into one page; ask for fewer calls")
