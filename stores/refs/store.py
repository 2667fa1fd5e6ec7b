"""The store of what refs lead to."""

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
"""A project and a ref."""

_LISTED: Final = 20
_NO_DIGESTS: Final = ("latest", "*")


class RefsStore:
    """Refs into the objects and tables of a database. What they lead to is JSON text, None for null."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._sources = TargetReader(database)

    @database_query
    async def values(self, refs: Sequence[str], *, allow_missing: bool = False) -> list[str | None]:
        """What each of some refs to objects and ops leads to, in their order; None where that is deleted.

        They may lead into several projects, but nowhere from one into another: there is null. With
        `allow_missing`, a ref into a missing entity gives None too.

        Raises:
            NotFoundError: entities are missing, all of which the message lists, without `allow_missing`.
            BadInputError: one is no ref, is to a table or call, has no digest or cannot lead on; there are more than
                `MAX_REFS`, or they lead to more than `sources.MAX_CHARACTERS`.
        """
        if len(refs) > MAX_REFS:
            raise BadInputError(f"has {len(refs):,} refs; the limit is {MAX_REFS:,}", "refs")
        asked = [_asked(text, f"refs.{position}") for position, text in enumerate(refs)]
        try:
            found = await resolve(self._sources, asked)
            answer = Budget()
            for ref in asked:
                answer.give(found[ref].text)
        except BadInputError as error:
            raise error.prefixed("refs") from None
        _check(found, asked)
        if not allow_missing:
            _check_missing(found)
        return [found[ref].text for ref in asked]

    @database_query
    async def by_refs(self, keys: Sequence[Key]) -> dict[Key, str | None]:
        """For each project and text what that leads to as a ref, inside the project.

        None where it is no ref to an object or op of it, or leads to nothing.
        """
        refs = {key: ref async for key in cooperative(keys) if (ref := inner_ref(*key))}
        found = await resolve(self._sources, refs.values())
        return {key: found[refs[key]].text if key in refs else None for key in keys}


def inner_ref(project_id: str, text: str) -> Ref | None:
    """The ref to an object or op of a project that a text is; None for any other text."""
    if not text.startswith(f"{grammar.SCHEME}{project_id}/") or not grammar.is_ref(text):
        return None
    ref = grammar.parse(text)
    return None if ref.version is None else ref


def _asked(text: str, argument: str) -> Ref:
    try:
        ref = grammar.parse(text)
        ids.check_project_id(ref.project_id)
    except BadInputError as error:
        raise BadInputError(error.message, argument) from None
    if ref.version is None:
        message = f"{text[:200]!r} is the ref of a {ref.kind}; only those of objects and ops resolve"
        raise BadInputError(message, argument)
    if ref.version in _NO_DIGESTS:
        raise BadInputError(f"{text[:200]!r} must name a version by its digest, not as {ref.version}", argument)
    return ref


def _check(found: dict[Ref, Resolved], asked: Sequence[Ref]) -> None:
    for position, ref in enumerate(asked):
        if problem := found[ref].problem:
            raise BadInputError(f"{str(ref)[:200]!r} leads nowhere: {problem}", f"refs.{position}")


def _check_missing(found: dict[Ref, Resolved]) -> None:
    missing = list(dict.fromkeys(resolved.missing for resolved in found.values() if resolved.missing))
    if missing:
        more = f" and {len(missing) - _LISTED:,} more" if len(missing) > _LISTED else ""
        listed = ", ".join(ref[:300] for ref in missing[:_LISTED])
        raise NotFoundError(f"not found: {listed}{more}", "refs")
