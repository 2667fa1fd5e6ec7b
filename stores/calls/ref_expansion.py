"""Column expansion: replaces refs at given JSON paths of calls with the values that they refer to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from stores.calls.fields import CALL_FIELDS
from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError
from stores.json import AnyJson, codec, paths
from stores.paging import Row
from stores.query.fields import Access
from stores.refs import SCHEME, Ref, inner_ref
from stores.refs.store import MAX_CHARACTERS, Budget, TargetReader, resolve

MAX_COLUMNS: Final = 20

_ARGUMENT: Final = "expand_columns"


@dataclass(frozen=True, slots=True)
class Column:
    """A path into the JSON of calls: its query access, and its unescaped keys within the field."""

    access: Access
    keys: tuple[str, ...]

    @property
    def field(self) -> str:
        """Name of the JSON field that contains the column."""
        return self.access.field.name


@dataclass(frozen=True)
class Expansion:
    """The columns to expand, by name; without `returns_values`, only queries and sorts follow the refs."""

    names: Sequence[str]
    returns_values: bool = True

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The distinct columns, those with the fewest keys first.

        Raises:
            BadInputError: if a name is no path into the JSON of calls, or if there are more than `MAX_COLUMNS`.
        """
        if len(self.names) > MAX_COLUMNS:
            raise BadInputError(f"has {len(self.names):,} columns; the limit is {MAX_COLUMNS}", _ARGUMENT)
        columns = [_column(name, f"{_ARGUMENT}.{position}") for position, name in enumerate(self.names)]
        return tuple(sorted(dict.fromkeys(columns), key=lambda column: len(column.keys)))

    async def expand(
        self, target_reader: TargetReader, project_id: str, rows: Iterable[Row], wanted: Iterable[str]
    ) -> None:
        """Replace refs in the selected JSON of rows with their values; a few commands per column depth.

        A ref that leads to nothing, or out of the project, stays unchanged.

        Raises:
            BadInputError: if the values exceed `targets.MAX_CHARACTERS`.
        """
        if not self.returns_values:
            return
        fields = {column.field for column in self.columns}.intersection(wanted)
        page = _Page(project_id)
        async for row, field in cooperative((row, field) for row in rows for field in fields):
            page.add(row, field)
        try:
            for _, columns in groupby(self.columns, key=lambda column: len(column.keys)):
                await page.expand(target_reader, list(columns))
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
    """One parsed JSON field of a row; values are shared between rows, so none is changed in place."""

    row: Row
    field: str
    value: Any
    is_changed: bool = False

    def ref_at(self, column: Column) -> str | None:
        """Return the ref at a column; None if there is none. Columns lead through objects only."""
        value = self.value
        for key in column.keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, str) and value.startswith(SCHEME) else None

    def put(self, column: Column, value: object) -> None:
        self.value, self.is_changed = _replace_at(self.value, column.keys, value), True

    def write(self) -> None:
        if self.is_changed:
            self.row["json"][self.field] = codec.encode(self.value)


def _replace_at(value: AnyJson, keys: Sequence[str], new: object) -> AnyJson:
    """Copy a JSON value with `new` at the end of the steps."""
    return {**value, keys[0]: _replace_at(value[keys[0]], keys[1:], new)} if keys else new


class _Page:
    """The JSON of a page's rows that may contain refs, and the referenced values, each read once."""

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

    async def expand(self, target_reader: TargetReader, columns: list[Column]) -> None:
        """Expand columns none of which lies inside another."""
        refs = [each async for each in cooperative(self._refs_at(columns))]
        await self._read(target_reader, {ref for _, _, ref in refs})
        async for payload, column, ref in cooperative(refs):
            if cached := self._values[ref]:
                value, size = cached
                self._add_size(size)
                payload.put(column, value)

    def _refs_at(self, columns: list[Column]) -> Iterator[tuple[_Payload, Column, str]]:
        for payload in self.payloads:
            for column in columns:
                if column.field == payload.field and (ref := payload.ref_at(column)):
                    yield payload, column, ref

    async def _read(self, target_reader: TargetReader, texts: set[str]) -> None:
        new = texts - self._values.keys()
        refs: dict[str, Ref] = {text: ref for text in new if (ref := inner_ref(self._project_id, text))}
        resolved = await resolve(target_reader, refs.values(), self._budget)
        self._values |= dict.fromkeys(new)
        async for text, ref in cooperative(refs.items()):
            json = resolved[ref].text
            value = None if json is None else codec.loads(json.encode())
            if json is not None and value is not None:
                with_ref = {**value, "_ref": text} if isinstance(value, dict) and "_ref" not in value else value
                self._values[text] = with_ref, len(json)

    def _add_size(self, size: int) -> None:
        self._size += size
        if self._size > MAX_CHARACTERS:
            raise BadInputError(f"expand to more than {MAX_CHARACTERS:,} characters in one page; request fewer calls")
