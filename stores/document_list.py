"""The documents of one collection as a list per project: pages, counts and purges.

A purge takes only queries of explicit ids, so that a mistaken condition deletes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar, Final, Generic, TypeVar

from stores import paging
from stores.database import Collection, Database, Document, database_query
from stores.database.connection import IN_PYTHON, in_scan_slot
from stores.database.driver import find_all
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.ids import MAX_ID, check_project_id
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.fields import FieldTable
from stores.query.in_python import python_assisted_match
from stores.query.index_use import IndexedFields
from stores.query.match_compiler import Match
from stores.query.parser import Get, Literal, Operand, Operation, Operator
from stores.query.sort import SortBy, compile_sort
from stores.security import audit

_EQUAL_FORM: Final = '{"$eq": [{"$getField": "id"}, {"$literal": "<id>"}]}, or an $or of such'
_IN_FORM: Final = ', or {"$in": [{"$getField": "id"}, [{"$literal": "<id>"}, …]]}'


def named_ids(query: Query, fields: FieldTable, *, allow_in: bool) -> list[str]:
    """Return the distinct ids that a query names by `$eq`, an `$or` of `$eq`, or `$in` if `allow_in`.

    Ids longer than `MAX_ID` are dropped, since none is stored.

    Raises:
        BadInputError: if the query has any other form.
    """
    ids = _id_operands(query.operation(fields), allow_in=allow_in)
    return list(dict.fromkeys(id_ for id_ in ids if len(id_) <= MAX_ID))


def _id_operands(operation: Operation, *, allow_in: bool) -> Iterator[str]:
    members: Sequence[Operand]
    match operation:
        case Operation(Operator.IN, (Get("id"), *members)) if allow_in:
            pass
        case Operation(Operator.OR, terms):
            members = [_compared_with_id(term) for term in terms]
        case _:
            members = [_compared_with_id(operation)]
    for member in members:
        if not isinstance(member, Literal) or not isinstance(member.value, str):
            forms = f"{_EQUAL_FORM}{_IN_FORM if allow_in else ''}"
            raise BadInputError(f"must name ids: {forms}; otherwise query the ids first", "query")
        yield member.value


def _compared_with_id(term: Operand) -> Operand:
    """Return the operand that a term compares the id with; the term itself if it is no such comparison."""
    match term:
        case Operation(Operator.EQ, (Get("id"), member)):
            return member
        case _:
            return term


OLDEST_FIRST: Final = (SortBy("created_at"),)
"""Order of a list if the client names none."""

Filter = TypeVar("Filter")

Key = tuple[str, str]
"""A project id and a document's id."""


class DocumentList(Generic[Filter]):
    """Reads the documents of one collection; each operation is within one project.

    Rows are dicts of the selected fields of a document: times are microseconds since the epoch, JSON is text under
    `json`, and null fields are absent. A subclass states its fields, and its filter in `clauses`.
    """

    indexed: ClassVar[IndexedFields]
    """Fields that clients filter and sort by."""

    scope: ClassVar[Match] = {}
    """Condition on all documents of the list, besides their project."""

    always_read: ClassVar[Sequence[str]] = ()
    """Document paths that every row has."""

    reads: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Document paths of the fields that are not stored under their own name."""

    def __init__(self, database: Database, documents: Collection) -> None:
        self.database = database
        self._documents = documents

    @classmethod
    def paths_of(cls, wanted: Iterable[str]) -> list[str]:
        """Return the document paths of the selected fields, without duplicates."""
        return list(
            dict.fromkeys([*cls.always_read, *(path for name in wanted for path in cls.reads.get(name, (name,)))])
        )

    def clauses(self, _list_filter: Filter) -> list[Match]:
        """Return the MongoDB conditions of a filter.

        Raises:
            BadInputError: if the filter is invalid.
        """
        return []

    def match(self, project_id: str, list_filter: Filter | None, query: Query | None) -> Match:
        """Build the MongoDB filter of a project's documents that match a filter and a query.

        A query cannot reach another project.

        Raises:
            BadInputError: if the project id, the filter or the query is invalid.
        """
        check_project_id(project_id)
        clauses = [] if list_filter is None else self.clauses(list_filter)
        clauses += [query.match(self.indexed.table)] if query else []
        return {"project_id": project_id, **self.scope, **({"$and": clauses} if clauses else {})}

    @in_scan_slot()
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        list_filter: Filter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
    ) -> Page:
        """Return the selected fields of a page of documents; the default order is oldest first.

        Raises:
            BadInputError: if the filter, the query, the sort or the cursor is invalid.
        """
        check_project_id(project_id)
        order = compile_sort(sort_by or OLDEST_FIRST, self.indexed.table)
        # The match that Python assists contains ids, which may change between pages.
        cursor_scope = [self.match(project_id, list_filter, query)] if IN_PYTHON.get() else ()
        paths = self.paths_of(wanted)
        async with self._matching(project_id, list_filter, query) as (match, session):
            return await paging.find_page(
                self._documents, match, order, request, paths, cursor_scope=cursor_scope, session=session
            )

    @database_query
    async def by_keys(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, Row | None]:
        """Return the selected fields per pair of project id and id, in one command; None if no document exists."""
        return await find_by_keys(self._documents, keys, self.paths_of(wanted), self.scope)

    @in_scan_slot()
    @database_query
    async def count(
        self,
        project_id: str,
        list_filter: Filter | None = None,
        query: Query | None = None,
        *,
        limit: int | None = None,
    ) -> int:
        """Count the documents that match the filter and the query, up to `limit`.

        Raises:
            BadInputError: if the filter or the query is invalid.
        """
        async with self._matching(project_id, list_filter, query) as (match, session):
            return await paging.count(self._documents, [{"$match": match}], limit, session)

    def _matching(
        self, project_id: str, list_filter: Filter | None, query: Query | None
    ) -> AbstractAsyncContextManager[tuple[Document, Session | None]]:
        """Provide the match of a filter and a query, and the session to read the matching documents in."""
        match_of = partial(self.match, project_id, list_filter)
        return python_assisted_match(self.database, self._documents, project_id, match_of, query, self.indexed.table)

    async def _purge(self, noun: str, project_id: str, query: Query, *, allow_in: bool) -> int:
        """Permanently delete the documents whose ids the query names; return their number.

        Raises:
            BadInputError: if the query does not name ids.
        """
        check_project_id(project_id)
        ids = named_ids(query, self.indexed.table, allow_in=allow_in)
        if not ids:
            return 0
        keys = [f"{project_id}:{each}" for each in ids]
        with audit.record_removal(f"{noun}.purge", project_id, done=f"{noun}.purged", ids=ids) as outcome:
            deleted = await self._documents.delete_many({"_id": {"$in": keys}, "project_id": project_id})
            outcome["num_purged"] = deleted.deleted_count
        return deleted.deleted_count


async def find_by_keys(
    documents: Collection, keys: Sequence[Key], paths: Sequence[str], scope: Match
) -> dict[Key, Row | None]:
    """Return some paths, the project id and the id of each document in one command; None if none is in the scope."""
    match = {
        "_id": {"$in": [f"{project_id}:{each}" for project_id, each in keys]},
        "project_id": {"$in": list({project_id for project_id, _ in keys})},
        # The shard key has it, so a router asks only the shards that have the documents.
        "id": {"$in": list({each for _, each in keys})},
    }
    projection = {"_id": 0} | dict.fromkeys(["project_id", "id", *paths], 1)
    rows = await find_all(documents, match | scope, projection, len(keys))
    rows_by_key = {(row["project_id"], row["id"]): row for row in rows}
    return {key: rows_by_key.get(key) for key in keys}
