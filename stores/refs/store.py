"""The store of ref targets."""

from collections.abc import Sequence
from typing import Final

from stores import ids
from stores.concurrency.time_slices import cooperative
from stores.database import Database, database_query
from stores.errors import BadInputError, NotFoundError
from stores.refs import grammar
from stores.refs.grammar import Ref
from stores.refs.resolver import Resolved, resolve
from stores.refs.targets import Budget, TargetReader

MAX_REFS: Final = 1000

Key = tuple[str, str]
"""A project id and a ref."""

_MAX_LISTED: Final = 20
_NO_DIGESTS: Final = ("latest", "*")


class RefsStore:
    """Resolves refs into the objects and tables of a database. Values are JSON text, None for null."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._reader = TargetReader(database)

    @database_query
    async def values(self, refs: Sequence[str], *, allow_missing: bool = False) -> list[str | None]:
        """Return the values of refs to objects and ops in order; None for deleted ones.

        Refs may belong to several projects; a ref that leads from one project into another resolves to null. With
        `allow_missing`, a ref to a missing entity resolves to None, too.

        Raises:
            NotFoundError: if entities are missing and `allow_missing` is False; the message lists them.
            BadInputError: if a text is no ref, is a ref to a table or call, has no digest or cannot be followed. Also
                if there are more than `MAX_REFS` refs or more than `targets.MAX_CHARACTERS` characters.
        """
        if len(refs) > MAX_REFS:
            raise BadInputError(f"has {len(refs):,} refs; the limit is {MAX_REFS:,}", "refs")
        parsed_refs = [_parse_version_ref(text, f"refs.{position}") for position, text in enumerate(refs)]
        try:
            resolved = await resolve(self._reader, parsed_refs)
            budget = Budget()
            for ref in parsed_refs:
                budget.count_returned(resolved[ref].text)
        except BadInputError as error:
            raise error.prefixed("refs") from None
        _check_problems(resolved, parsed_refs)
        if not allow_missing:
            _check_missing(resolved)
        return [resolved[ref].text for ref in parsed_refs]

    @database_query
    async def by_refs(self, keys: Sequence[Key]) -> dict[Key, str | None]:
        """Return the values of the texts as refs inside their project.

        None for texts that are no ref to an object or op of the project, and for missing values.
        """
        refs = {key: ref async for key in cooperative(keys) if (ref := inner_ref(*key))}
        resolved = await resolve(self._reader, refs.values())
        return {key: resolved[refs[key]].text if key in refs else None for key in keys}


def inner_ref(project_id: str, text: str) -> Ref | None:
    """Parse a ref to an object or op of the project; None for any other text."""
    if not text.startswith(f"{grammar.SCHEME}{project_id}/") or not grammar.is_ref(text):
        return None
    ref = grammar.parse(text)
    return None if ref.version is None else ref


def _parse_version_ref(text: str, argument: str) -> Ref:
    try:
        ref = grammar.parse(text)
        ids.check_project_id(ref.project_id)
    except BadInputError as error:
        raise BadInputError(error.message, argument) from None
    if ref.version is None:
        message = f"{text[:200]!r} is the ref of a {ref.kind}; only refs to objects and ops can be resolved"
        raise BadInputError(message, argument)
    if ref.version in _NO_DIGESTS:
        raise BadInputError(f"{text[:200]!r} must name a version by its digest instead of {ref.version}", argument)
    return ref


def _check_problems(resolved: dict[Ref, Resolved], parsed_refs: Sequence[Ref]) -> None:
    for position, ref in enumerate(parsed_refs):
        if problem := resolved[ref].problem:
            raise BadInputError(f"{str(ref)[:200]!r} cannot be followed: {problem}", f"refs.{position}")


def _check_missing(resolved: dict[Ref, Resolved]) -> None:
    missing = list(dict.fromkeys(each.missing for each in resolved.values() if each.missing))
    if missing:
        more = f" and {len(missing) - _MAX_LISTED:,} more" if len(missing) > _MAX_LISTED else ""
        listed = ", ".join(ref[:300] for ref in missing[:_MAX_LISTED])
        raise NotFoundError(f"not found: {listed}{more}", "refs")
