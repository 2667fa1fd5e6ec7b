"""Resolution of refs in batches: each hop reads the targets of all refs together, in a few commands."""

from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from stores import ids
from stores.concurrency.time_slices import cooperative
from stores.database import Collection, Database, Document, content_store, database_query
from stores.errors import BadInputError, ErrorsAt, NotFoundError
from stores.input_checks import check_count
from stores.json import codec
from stores.refs import NO_DIGESTS, SCHEME, Ref, inner_ref, is_ref, parse

MAX_CHARACTERS: Final = 100_000_000
"""Maximum characters of JSON that one request may read, or return, through refs."""

MAX_HOPS: Final = 32
"""Maximum refs on the path from a ref to its value, itself included."""

MAX_REFS: Final = 1000

_BATCH_SIZE: Final = 5_000
_MAX_INDEX_LENGTH: Final = 12
_MAX_LISTED: Final = 20

Step = tuple[str, str]
"""A step's name and value."""

Key = tuple[str, str]
"""A project id and a ref."""


@dataclass(frozen=True, slots=True)
class RowKey:
    """A row of a table."""

    project_id: str
    table: str
    digest: str


Target = Ref | RowKey
"""A target that is read as a whole: a version, whose ref has no steps, or a row."""


@dataclass(frozen=True)
class Content:
    """The JSON text of a target; None if it is deleted."""

    text: str | None

    @cached_property
    def value(self) -> object:
        """The parsed value; callers must not change it."""
        return None if self.text is None else codec.loads(self.text.encode())


class Budget:
    """Characters that one request has read and returned through refs, each at most `MAX_CHARACTERS`.

    Both methods raise BadInputError above the limit.
    """

    def __init__(self) -> None:
        self._read_characters = self._returned_characters = 0

    def count_read(self, text: str | None) -> None:
        """Count a text that was read."""
        self._read_characters += len(text or "")
        self._check(self._read_characters)

    def count_returned(self, text: str | None) -> None:
        """Count a text each time it is returned."""
        self._returned_characters += len(text or "")
        self._check(self._returned_characters)

    def _check(self, characters: int) -> None:
        if characters > MAX_CHARACTERS:
            raise BadInputError(f"exceeds {MAX_CHARACTERS:,} characters of JSON; request fewer refs at once")


async def read_targets(database: Database, targets: AbstractSet[Target], budget: Budget) -> dict[Target, Content]:
    """Return the content of the existing targets, in at most four commands per 5,000 targets.

    Raises:
        BadInputError: if they exceed the budget.
    """
    versions = {target.version_id: target for target in targets if isinstance(target, Ref)}
    rows: dict[str, list[RowKey]] = {}
    for row in await _members(database, [target for target in targets if isinstance(target, RowKey)]):
        rows.setdefault(content_store.key(row.project_id, row.digest), []).append(row)
    contents: dict[Target, Content] = {}
    projects = {target.project_id for target in targets}
    async for document in _find(database.objects, versions, projects, {"visible": 1, "json.val": 1}):
        text = document["json"]["val"] if document["visible"] else None
        budget.count_read(text)
        contents[versions[document["_id"]]] = Content(text)
    async for document in _find(database.table_rows, rows, projects, {"json.val": 1}):
        for row in rows[document["_id"]]:
            budget.count_read(document["json"]["val"])
            contents[row] = Content(document["json"]["val"])
    return contents


async def _members(database: Database, rows: Sequence[RowKey]) -> list[RowKey]:
    """Return the rows that belong to their tables."""
    projects = {row.project_id for row in rows}
    tables = {content_store.key(row.project_id, row.table) for row in rows}
    chunks_of = {
        table["_id"]: [content_store.key(table["project_id"], chunk) for chunk in table["chunks"]]
        async for table in _find(database.tables, tables, projects, {"project_id": 1, "chunks": 1})
    }
    wanted = list({row.digest for row in rows})
    chunks = {chunk for each in chunks_of.values() for chunk in each}
    projection = {"row_digests": {"$setIntersection": ["$row_digests", {"$literal": wanted}]}}
    found = _find(database.table_chunks, chunks, projects, projection, {"row_digests": {"$in": wanted}})
    digests_in = {chunk["_id"]: chunk["row_digests"] async for chunk in found}
    present = {
        (table, digest) for table, each in chunks_of.items() for chunk in each for digest in digests_in.get(chunk, ())
    }
    return [row for row in rows if (content_store.key(row.project_id, row.table), row.digest) in present]


async def _find(
    collection: Collection,
    keys: Iterable[str],
    projects: Iterable[str],
    projection: dict[str, Any],
    match: dict[str, Any] | None = None,
) -> AsyncIterator[Document]:
    """Yield the documents with the keys in the projects; each key includes its project."""
    for batch in content_store.batches(list(keys), _BATCH_SIZE):
        by_key = {"_id": {"$in": batch}, "project_id": {"$in": list(projects)}} | (match or {})
        async for document in collection.find(by_key, projection, batch_size=len(batch) + 1):
            yield document


def follow(value: object, steps: tuple[Step, ...]) -> tuple[object, tuple[Step, ...]]:
    """Follow the steps; return the final value, or the first ref on the path with the remaining steps.

    Missing values are None, and so is everything inside them.

    Raises:
        BadInputError: if a step does not apply to the value.
    """
    for at, step in enumerate(steps):
        if isinstance(value, str) and value.startswith(SCHEME) and is_ref(value):
            return value, steps[at:]
        value = _step(value, *step)
    return value, ()


def _step(value: object, step: str, name: str) -> object:
    match value, step:
        case None, _:
            return None
        case dict(), "key" | "attr":
            return value.get(name)
        case dict(), "index":
            raise BadInputError(f"index/{name[:64]} applies to lists, but the value is an object; use key or attr")
        case list(), "index":
            return _member(value, name)
        case _, "id":
            raise BadInputError(f"id/{name[:64]} applies to tables, but the value is not a table")
        case _:
            return None


def _member(members: list[object], index: str) -> object:
    """Return the member at an index, negative ones from the end; None beyond either end."""
    at = int(index) if len(index) <= _MAX_INDEX_LENGTH else len(members)
    return members[at] if -len(members) <= at < len(members) else None


@dataclass(frozen=True, slots=True)
class Resolved:
    """The result of a ref: JSON text, or None for null and deleted values.

    Otherwise `missing` names the entity that does not exist, or `problem` says why the ref cannot be followed.
    """

    text: str | None = None
    missing: str | None = None
    problem: str | None = None


async def resolve(database: Database, refs: Iterable[Ref], budget: Budget | None = None) -> dict[Ref, Resolved]:
    """Resolve refs to objects and ops, in at most four commands per hop; all hops share one budget.

    Raises:
        BadInputError: if the texts that are read or returned exceed the budget.
    """
    budget = budget or Budget()
    walks = {ref: _walk(ref) for ref in refs}
    pending = {ref: next(walk) for ref, walk in walks.items()}
    known: dict[Target, Content] = {}
    results: dict[Ref, Resolved] = {}
    for _ in range(MAX_HOPS):
        new = set(pending.values()) - known.keys()
        known |= await read_targets(database, new, budget) if new else {}
        async for ref, target in cooperative(list(pending.items())):
            try:
                pending[ref] = walks[ref].send(known.get(target))
            except StopIteration as end:
                results[ref] = end.value
                del pending[ref]
                budget.count_returned(results[ref].text)
        if not pending:
            break
    too_many_hops = Resolved(problem=f"leads through more than {MAX_HOPS} refs, perhaps in a cycle")
    return {ref: results.get(ref, too_many_hops) for ref in walks}


def _walk(ref: Ref) -> Generator[Target, Content | None, Resolved]:
    """Yield the targets on the path of a ref, receive the content of each, and return the result."""
    target: Target = replace(ref, steps=())
    steps = ref.steps
    try:
        while content := (yield target):
            if content.text is None or not steps:
                return Resolved(content.text)
            value, steps = follow(content.value, steps)
            if not steps:
                return Resolved(None if value is None else codec.encode(value))
            inner = parse(str(value))
            if inner.project_id != ref.project_id or inner.kind == "call":
                return Resolved()
            if inner.kind == "table":
                (step, digest), *inner_steps = steps
                if step != "id":
                    return Resolved(problem=f"{step} does not apply to a table; use id and the digest of a row")
                target, steps = RowKey(ref.project_id, inner.name, digest), tuple(inner_steps)
            else:
                target, steps = replace(inner, steps=()), (*inner.steps, *steps)
    except BadInputError as error:
        return Resolved(problem=error.message)
    if isinstance(target, RowKey):
        return Resolved(missing=f"{Ref(target.project_id, 'table', target.table)}/id/{target.digest}")
    return Resolved(missing=str(target))


class RefsStore:
    """Resolves refs into the objects and tables of a database. Values are JSON text, None for null."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @database_query
    async def values(self, refs: Sequence[str], *, allow_missing: bool = False) -> list[str | None]:
        """Return the values of refs to objects and ops in order; None for deleted ones.

        Refs may belong to several projects; a ref that leads from one project into another resolves to null. With
        `allow_missing`, a ref to a missing entity resolves to None, too.

        Raises:
            NotFoundError: if entities are missing and `allow_missing` is False; the message lists them.
            BadInputError: if a text is no ref, is a ref to a table or call, has no digest or cannot be followed. Also
                if there are more than `MAX_REFS` refs or more than `MAX_CHARACTERS` characters.
        """
        check_count(len(refs), MAX_REFS, "refs", "refs")
        parsed_refs = [_parse_version_ref(text, f"refs.{position}") for position, text in enumerate(refs)]
        with ErrorsAt("refs"):
            resolved = await resolve(self.database, parsed_refs)
            budget = Budget()
            for ref in parsed_refs:
                budget.count_returned(resolved[ref].text)
        for position, ref in enumerate(parsed_refs):
            if problem := resolved[ref].problem:
                raise BadInputError(f"{str(ref)[:200]!r} cannot be followed: {problem}", f"refs.{position}")
        missing = list(dict.fromkeys(each.missing for each in resolved.values() if each.missing))
        if missing and not allow_missing:
            more = f" and {len(missing) - _MAX_LISTED:,} more" if len(missing) > _MAX_LISTED else ""
            listed = ", ".join(ref[:300] for ref in missing[:_MAX_LISTED])
            raise NotFoundError(f"not found: {listed}{more}", "refs")
        return [resolved[ref].text for ref in parsed_refs]

    @database_query
    async def by_refs(self, keys: Sequence[Key]) -> dict[Key, str | None]:
        """Return the values of the texts as refs inside their project.

        None for texts that are no ref to an object or op of the project, and for missing values.
        """
        refs = {key: ref async for key in cooperative(keys) if (ref := inner_ref(*key))}
        resolved = await resolve(self.database, refs.values())
        return {key: resolved[refs[key]].text if key in refs else None for key in keys}


def _parse_version_ref(text: str, argument: str) -> Ref:
    try:
        ref = parse(text)
        ids.check_project_id(ref.project_id)
    except BadInputError as error:
        raise BadInputError(error.message, argument) from None
    if ref.version is None:
        message = f"{text[:200]!r} is the ref of a {ref.kind}; only refs to objects and ops can be resolved"
        raise BadInputError(message, argument)
    if ref.version in NO_DIGESTS:
        raise BadInputError(f"{text[:200]!r} must name a version by its digest instead of {ref.version}", argument)
    return ref
