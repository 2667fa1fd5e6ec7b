"""The collections of a database."""

from typing import Any, Final

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]


NAMES: Final = {"files": "files.files", "file_chunks": "files.chunks"}
"""Collections whose names differ from their attributes: GridFS prescribes them."""


class Collections:
    """The collections of one database, each as an attribute; Motor takes 7 microseconds to create one."""

    calls: Collection
    """Calls, one document each."""
    costs: Collection
    """Token prices of models, set per project."""
    objects: Collection
    """Objects and ops, one document per version."""
    object_heads: Collection
    """Names of objects and ops: fields shared by all versions of a name, used by writers."""
    tables: Collection
    """Tables: the ids of their chunks in order."""
    table_chunks: Collection
    """Chunks of row digests, shared between tables."""
    table_rows: Collection
    """Table rows, stored once per project however many tables have them."""
    table_uploads: Collection
    """Uploads in progress of tables too large for one transaction."""
    feedback: Collection
    """Feedback, one document each."""
    files: Collection
    """Files, one document each, in GridFS format."""
    file_chunks: Collection
    """Chunks of file content, in GridFS format."""
    file_uploads: Collection
    """File uploads in progress."""
    doomed_files: Collection
    """Deleted files whose content is not yet deleted."""
    evaluation_runs: Collection
    """Queued and running evaluation runs, one document each until the run ends."""
    projects: Collection
    """Projects, one document per project that was created or written to."""
    hour_marks: Collection
    """Marks of hours in which calls changed, one document each until their roll-ups are right; and a state per project.
    """
    rollups: Collection
    """Sums over calls per hour and day, one document per combination of op, status, kind, provider, model and root."""
    trace_totals: Collection
    """Totals of traces, one document each: calls, errors, tokens by model, cost, and the columns of the head."""
    due_threads: Collection
    """Lists of threads whose totals must be computed again."""
    thread_totals: Collection
    """Totals of threads, one document each: turns, their durations, and sums over the traces of the turns."""
    term_segments: Collection
    """Segments of terms: for each settled hour, or for the hours of a day, which blocks hold them."""
    term_blocks: Collection
    """Blocks of the segments: terms with the numbers of their calls, start times, and pages of long heads."""
    upgrades: Collection
    """Progress of the migrations of stored data, one document each."""
    purges: Collection
    """The latest purge of each project."""
    retention: Collection
    """Retention rules and sweep progress, one document per project that ever had a rule."""
    search_indexes: Collection
    """Text indexes, one document per project that ever had one."""
    search_segments: Collection
    """Segments of text indexes and the calls they cover."""
    search_words: Collection
    """Words of the segments with the calls that contain them, some hundred words per document."""
    api_keys: Collection
    """API keys, one document per key ever created, without its secret."""
    api_key_changes: Collection
    """Number of changes to the API keys: one document."""
    secrets: Collection
    """Secrets shared by all servers on this database, one document each."""
    leases: Collection
    """Leases for work that one process does at a time, one document each."""

    def __init__(self, database: "AsyncIOMotorDatabase[Document]") -> None:
        self._database = database
        for attribute, name in zip(Collections.__annotations__, names(), strict=True):
            setattr(self, attribute, database[name])


def names() -> list[str]:
    """Return the name of each collection."""
    return [NAMES.get(attribute, attribute) for attribute in Collections.__annotations__]
