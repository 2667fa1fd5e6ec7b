"""Conditions on parts of payloads that are too complex for MongoDB to cut out: decided by Python, document by document.

MongoDB gives up a regular expression after 200,000 steps. Each list, object, member and escape takes a few of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from stores.database import Database
from stores.database.collections import Collection, Document
from stores.database.connection import IN_PYTHON
from stores.database.error_translation import translate_index_build_error
from stores.database.transactions import Session
from stores.errors import TooComplexError
from stores.query import Query
from stores.query.evaluator import Values, compile_test
from stores.query.fields import Field, FieldTable, Kind, Known
from stores.query.match_compiler import Match, compile_match
from stores.query.syntax_tree import And, Get, Not, Operand, Or, gets, gets_of_texts, operands, with_operands
from stores.query.value_expressions import Expression, is_part, reach, sought, truth

MAX_DOCUMENTS: Final = 1_000
"""Documents that Python looks at for one query; their ids stand in the query."""

MAX_ID_BYTES: Final = 1_000_000
"""Bytes of the ids that stand in the query, of which a sort by several keys holds up to ten copies in 16 MiB."""

MAX_CHARACTERS: Final = 128 * 1024 * 1024
"""Characters of these documents' texts, together."""

_SIMPLE: Final = (1_000, 8_000)
"""Members, items, brackets and escapes of a text that MongoDB copes with. MongoDB 6 failed at 24,000 and more, 7
at 2,000 where they are items of a list before the part. So the second number is a guess, for projects of which
the first one leaves too many documents to Python."""

_COUNTED: Final = ("[", "{", ",", "\\")
_OF_PROSE: Final = ", "
"""Stored JSON has no space behind the comma of a member or an item."""
_ALL: Final = (1 << 63) - 1
_DECIDED: Final = Field("decided", "decided", Kind.JSON)


@asynccontextmanager
async def decided_match(
    database: Database,
    collection: Collection,
    match_of: Callable[[Query | None], Match],
    query: Query | None,
    fields: FieldTable,
) -> AsyncIterator[tuple[Match, Session | None]]:
    """The match of a query on fields that the collection stores, and the session in which to read its documents.

    Where Python has to decide a part of the query, the session reads everything as it was then. Otherwise there is
    none. `match_of` gives the match of all documents in question, and with the query that of the documents to find.

    Raises:
        TooComplexError: as `decided`.
    """
    if not (query and IN_PYTHON.get()):
        yield match_of(query), None
        return
    match, operation = match_of(None), query.operation(fields)
    with translate_index_build_error():
        async with database.snapshot_session() as session:
            known = await decided(collection, match, operation, lambda _get: True, session)
            yield {"$and": [match, compile_match(known)]}, session


async def decided(
    collection: Collection, match: Match, operation: Operand, is_stored: Callable[[Get], bool], session: Session
) -> Operand:
    """An operation that MongoDB decides without the parts of complex payloads, for the documents of a match.

    Conditions on what the collection does not store stay as they are. Read the documents in the session: MongoDB would
    fail on a complex document that somebody stored after Python looked.

    Raises:
        TooComplexError: more than `MAX_DOCUMENTS`, `MAX_CHARACTERS` or `MAX_ID_BYTES` would have to be looked at.
    """
    conditions = [each for each in _on_parts(operation) if all(map(is_stored, gets(each)))]
    if not conditions:
        return operation
    needed = [
        compile_match(term)
        for term in (operation.terms if isinstance(operation, And) else ())
        if all(map(is_stored, gets(term))) and not any(True for _ in _on_parts(term))
    ]
    asked = {"$and": [match, *needed]}
    try:
        complex_ids, holding = await _looked_at(collection, asked, conditions, _SIMPLE[0], session)
    except TooComplexError:
        complex_ids, holding = await _looked_at(collection, asked, conditions, _SIMPLE[1], session)
    known = {id(each): _known(each, complex_ids, ids) for each, ids in zip(conditions, holding, strict=True)}
    return _replaced(operation, known)


def _on_parts(node: Operand) -> Iterator[Operand]:
    """The conditions, under nothing but `$and`, `$or` and `$not`, that need the text of a part of a payload."""
    if isinstance(node, And | Or | Not):
        for operand in operands(node):
            yield from _on_parts(operand)
    elif any(is_part(get.access) for get in gets_of_texts(node)):
        yield node


async def _looked_at(
    collection: Collection, match: Match, conditions: Sequence[Operand], simple: int, session: Session
) -> tuple[list[Any], list[list[Any]]]:
    """The ids of the documents that may be too complex, and of those among them for which each condition holds."""
    complex_ids: list[Any] = []
    holding: list[list[Any]] = [[] for _ in conditions]
    tests = [compile_test(each) for each in conditions]
    accesses = [get.access for each in conditions for get in gets(each)]
    shown = dict.fromkeys([access.field.text_path or access.field.path for access in accesses], 1)
    candidates = {"$or": [_may_be_too_complex(each, simple) for each in conditions]}
    # The limit keeps the costly condition out of the planning, which would compute it once for each index.
    stages: list[Document] = [
        {"$match": match},
        {"$limit": _ALL},
        {"$match": {"$expr": candidates}},
        {"$project": shown},
    ]
    characters = id_bytes = 0
    async for document in collection.aggregate(stages, session=session):
        characters += sum(map(len, document["json"].values()))
        # Each condition has the ids of all documents, and of those for which it holds.
        id_bytes += 2 * len(conditions) * len(str(document["_id"]).encode())
        if len(complex_ids) == MAX_DOCUMENTS or characters > MAX_CHARACTERS or id_bytes > MAX_ID_BYTES:
            raise TooComplexError
        complex_ids.append(document["_id"])
        for ids, holds in zip(holding, await asyncio.to_thread(_tested, document, tests), strict=True):
            if holds:
                ids.append(document["_id"])
    return complex_ids, holding


def _tested(document: Document, tests: Sequence[Callable[[Values], bool]]) -> list[bool]:
    values = Values(document)
    return [test(values) for test in tests]


def _may_be_too_complex(condition: Operand, simple: int) -> Expression:
    """Whether a condition may need a part that MongoDB cannot cut out of a document's payload."""
    by_text = sought(condition)
    is_in_payload = [by_text.in_payload] if by_text else []
    parts = [get.access for get in gets_of_texts(condition) if is_part(get.access)]
    return {
        "$or": [
            {
                "$and": [
                    {"$in": [{"$type": reach(access)}, ["object", "array"]]},
                    _is_complex({"$ifNull": [f"${access.field.text_path}", ""]}, simple),
                    *is_in_payload,
                ]
            }
            for access in parts
        ]
    }


def _is_complex(text: Expression, simple: int) -> Expression:
    without = {"$replaceAll": {"input": "$$value", "find": "$$this", "replacement": ""}}
    structure = {"$replaceAll": {"input": text, "find": _OF_PROSE, "replacement": ""}}
    rest = {"$reduce": {"input": list(_COUNTED), "initialValue": "$$structure", "in": without}}
    counted = {"$subtract": [{"$strLenBytes": "$$structure"}, {"$strLenBytes": rest}]}
    is_complex = {"$let": {"vars": {"structure": structure}, "in": {"$gt": [counted, simple]}}}
    return {"$and": [{"$gt": [{"$strLenBytes": text}, simple]}, is_complex]}


def _known(condition: Operand, complex_ids: Sequence[Any], holding: Sequence[Any]) -> Get:
    """A condition that is known for some documents; `$cond` leaves them out before MongoDB cuts anything."""
    is_in = [{"$in": ["$_id", {"$literal": list(ids)}]} for ids in (complex_ids, holding)]
    return Get("decided", Known(_DECIDED, match={"$expr": {"$cond": [*is_in, truth(condition)]}}))


def _replaced(node: Operand, known: dict[int, Get]) -> Operand:
    if isinstance(node, And | Or | Not):
        return with_operands(node, lambda operand: _replaced(operand, known))
    return known.get(id(node), node)
