"""Stored documents that should not exist: no writer sent them, or they exist more than once."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from pymongo import MongoClient, ReadPreference
from pymongo.read_concern import ReadConcern

from tests.faults.invariant import Document, Project
from tests.faults.writers import Writer
from tests.faults.writers.writer import Thing, canonical_text

_NUMBER_BYTES = 16
"""Length of the number at the start of each file."""


def surplus(uri: str, project_id: str, writers: Sequence[Writer], name: str = "loomql") -> list[str]:
    """Return a sentence for each duplicate or unknown document; they are read directly from MongoDB."""
    sent = set().union(*(writer.sent_things for writer in writers))
    with MongoClient[Document](uri, serverSelectionTimeoutMS=30_000) as mongo:
        database = mongo.get_database(
            name, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
        )
        there = Counter(_things(Project(database, project_id)))
    many = [f"{kind} {what} is there {count} times" for (kind, what), count in there.items() if count > 1]
    return [*many, *(f"{kind} {what} is there, and nobody sent it" for kind, what in there.keys() - sent)]


def _things(project: Project) -> Iterator[Thing]:
    yield from (("call", call["id"]) for call in project.calls)
    yield from (("feedback", _canonical(one["json"]["payload"])) for one in project.feedback)
    yield from (("object", _canonical(version["json"]["val"])) for version in project.objects if version["visible"])
    yield from (("cost", cost["llm_id"]) for cost in project.costs)
    yield from (("table", _table_text(project, table)) for table in project.tables)
    first = {chunk["files_id"]: chunk["data"][:_NUMBER_BYTES].decode() for chunk in project.chunks if not chunk["n"]}
    yield from (("file", first.get(file["_id"], "")) for file in project.files)


def _canonical(text: str) -> str:
    return canonical_text(json.loads(text))


def _table_text(project: Project, table: Document) -> str:
    """Identify a table by its first row, its last row and its number of rows."""
    digests = [row for chunk in table["chunks"] for row in project.table_chunks[chunk]["row_digests"]]
    first, last = (json.loads(project.rows[digest]["json"]["val"]) for digest in (digests[0], digests[-1]))
    return canonical_text([first, last, len(digests)])
