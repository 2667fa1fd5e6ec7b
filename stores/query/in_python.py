"""Evaluation in Python of conditions on parts of payloads that are too complex for MongoDB's regular expressions.

MongoDB aborts a regular expression after 200,000 steps. Each list, object, member and escape of a text costs several.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from stores.database import Database
from stores.database.collections import Collection, Document
from stores.database.connection import IN_PYTHON
from stores.database.scan_order import scan_hint
from stores.database.transactions import Session
from stores.errors import TooComplexError
from stores.query import Query
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.fields import CompiledMatch, Field, FieldTable, Kind
from stores.query.match_compiler import Match, compile_match
from stores.query.parser import JUNCTIONS, Get, Operand, Operator, iter_gets, iter_text_gets, map_operands
from stores.query.text_expressions import Expression
from stores.query.value_expressions import condition_expression, is_inside_payload, path_expression, required_texts

MAX_DOCUMENTS: Final = 1_000
"""Documents that Python evaluates for one query; their ids become part of the query."""

MAX_ID_BYTES: Final = 1_000_000
"""Bytes of ids in the query; a sort by several keys repeats them up to ten times within MongoDB's 16 MiB."""

MAX_CHARACTERS: Final = 128 * 1024 * 1024
"""Characters of the evaluated documents' texts in total."""

_SIMPLE_LIMITS: Final = (1_000, 8_000)
"""Members, items, brackets and escapes in a text that MongoDB can handle, for the first and the second attempt.

MongoDB 6 failed from 24,000 on. MongoDB 7 failed from 2,000 on if they are list items before the part. The second limit
is therefore a guess, for projects in which the first one leaves too many documents to Python.
"""

_PROSE_COMMA: Final = ", "
"""Stored JSON has no space after a comma between members or items, so this occurs only inside strings."""


@asynccontextmanager
async def python_assisted_match(
    database: Database,
    collection: Collection,
    project_id: str,
    match_of: Callable[[Query | None], Match],
    query: Query | None,
    fields: FieldTable,
) -> AsyncIterator[tuple[Match, Session | None]]:
    """Yield the match of a query and the session in which to read the matching documents.

    If Python evaluates part of the query, the session reads the snapshot that Python read. Otherwise it is None.

    `match_of` returns the match for a query, and with None the match of all documents in scope.

    Raises:
        TooComplexError: see `python_assisted_operation`.
    """
    if not (query and IN_PYTHON.get()):
        yield match_of(query), None
        return
    match, operation = match_of(None), query.operation(fields)
    async with database.snapshot_session([project_id], [collection.name]) as session:
        assisted = await python_assisted_operation(collection, match, operation, lambda _get: True, session)
        yield {"$and": [match, compile_match(assisted)]}, session


async def python_assisted_operation(
    collection: Collection, match: Match, operation: Operand, is_stored: Callable[[Get], bool], session: Session
) -> Operand:
    """Evaluate conditions on complex payloads in Python and return an operation that MongoDB can evaluate.

    Conditions on fields that the collection does not store (`is_stored` is false) stay unchanged. Read the documents in
    the same session: MongoDB would fail on a complex document that was stored after Python's evaluation.

    Raises:
        TooComplexError: if the documents exceed `MAX_DOCUMENTS`, `MAX_CHARACTERS` or `MAX_ID_BYTES`.
    """
    conditions = [each for each in _payload_conditions(operation) if all(map(is_stored, iter_gets(each)))]
    if not conditions:
        return operation
    terms = operation.operands if operation.operator is Operator.AND else ()
    cheap = [term for term in terms if all(map(is_stored, iter_gets(term))) and not list(_payload_conditions(term))]
    candidates = {"$and": [match, *map(compile_match, cheap)]}
    try:
        found = await _evaluate_complex(collection, candidates, conditions, _SIMPLE_LIMITS[0], session)
    except TooComplexError:
        found = await _evaluate_complex(collection, candidates, conditions, _SIMPLE_LIMITS[1], session)
    complex_ids, matching_ids = found
    compiled = {
        id(each): _with_known_results(each, complex_ids, ids)
        for each, ids in zip(conditions, matching_ids, strict=True)
    }
    return _replace_conditions(operation, compiled)


def _payload_conditions(node: Operand) -> Iterator[Operand]:
    """Yield the conditions below `$and`, `$or` and `$not` that need the text of a part of a payload."""
    if node.operator in JUNCTIONS:
        for operand in node.operands:
            yield from _payload_conditions(operand)
    elif any(is_inside_payload(get.access) for get in iter_text_gets(node)):
        yield node


async def _evaluate_complex(
    collection: Collection, match: Match, conditions: Sequence[Operand], simple_limit: int, session: Session
) -> tuple[list[Any], list[list[Any]]]:
    """Return the ids of possibly too complex documents and, per condition, the ids for which it is true."""
    complex_ids: list[Any] = []
    matching_ids: list[list[Any]] = [[] for _ in conditions]
    tests = [compile_test(each) for each in conditions]
    accesses = [get.access for each in conditions for get in iter_gets(each)]
    projection = dict.fromkeys([access.field.text_path or access.field.path for access in accesses], 1)
    candidates = {"$or": [_may_be_too_complex(each, simple_limit) for each in conditions]}
    # The limit stops MongoDB from evaluating this expensive condition once per index while it plans.
    stages: list[Document] = [
        {"$match": match},
        {"$limit": (1 << 63) - 1},
        {"$match": {"$expr": candidates}},
        {"$project": projection},
    ]
    characters = id_bytes = 0
    async for document in collection.aggregate(stages, session=session, **await scan_hint(collection, stages)):
        characters += sum(map(len, document["json"].values()))
        # Each condition carries the ids of all complex documents, and of those for which it is true.
        id_bytes += 2 * len(conditions) * len(str(document["_id"]).encode())
        if len(complex_ids) == MAX_DOCUMENTS or characters > MAX_CHARACTERS or id_bytes > MAX_ID_BYTES:
            raise TooComplexError
        complex_ids.append(document["_id"])
        for ids, is_match in zip(matching_ids, await asyncio.to_thread(_run_tests, document, tests), strict=True):
            if is_match:
                ids.append(document["_id"])
    return complex_ids, matching_ids


def _run_tests(document: Document, tests: Sequence[Callable[[DocumentValues], bool]]) -> list[bool]:
    values = DocumentValues(document)
    return [test(values) for test in tests]


def _may_be_too_complex(condition: Operand, simple_limit: int) -> Expression:
    """Build the condition that a document may need a part that MongoDB cannot extract from its payload."""
    required = required_texts(condition)
    prefilter = [required.in_payload] if required else []
    parts = [get.access for get in iter_text_gets(condition) if is_inside_payload(get.access)]
    return {
        "$or": [
            {
                "$and": [
                    {"$in": [{"$type": path_expression(access)}, ["object", "array"]]},
                    _is_complex({"$ifNull": [f"${access.field.text_path}", ""]}, simple_limit),
                    *prefilter,
                ]
            }
            for access in parts
        ]
    }


def _is_complex(text: Expression, simple_limit: int) -> Expression:
    remove = {"$replaceAll": {"input": "$$value", "find": "$$this", "replacement": ""}}
    structure = {"$replaceAll": {"input": text, "find": _PROSE_COMMA, "replacement": ""}}
    without_structure = {"$reduce": {"input": ["[", "{", ",", "\\"], "initialValue": "$$structure", "in": remove}}
    structure_count = {"$subtract": [{"$strLenBytes": "$$structure"}, {"$strLenBytes": without_structure}]}
    is_complex = {"$let": {"vars": {"structure": structure}, "in": {"$gt": [structure_count, simple_limit]}}}
    return {"$and": [{"$gt": [{"$strLenBytes": text}, simple_limit]}, is_complex]}


def _with_known_results(condition: Operand, complex_ids: Sequence[Any], matching_ids: Sequence[Any]) -> Get:
    """Fix a condition's result for some documents; `$cond` skips them before MongoDB extracts any text."""
    in_id_lists = [{"$in": ["$_id", {"$literal": list(ids)}]} for ids in (complex_ids, matching_ids)]
    return Get(
        "decided",
        CompiledMatch(
            Field("decided", "decided", Kind.JSON),
            match={"$expr": {"$cond": [*in_id_lists, condition_expression(condition)]}},
        ),
    )


def _replace_conditions(node: Operand, compiled: dict[int, Get]) -> Operand:
    if node.operator in JUNCTIONS:
        return map_operands(node, lambda operand: _replace_conditions(operand, compiled))
    return compiled.get(id(node), node)
