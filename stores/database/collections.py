"""The collections of a database."""

from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]


class Collections:
    """The collections of one database, each as a property."""

    def __init__(self, database: "AsyncIOMotorDatabase[Document]") -> None:
        self._database = database

    @property
    def calls(self) -> Collection:
        """Calls, one document each."""
        return self._database["calls"]

    @property
    def costs(self) -> Collection:
        """Token prices of models, set per project."""
        return self._database["costs"]

    @property
    def objects(self) -> Collection:
        """Objects and ops, one document per version."""
        return self._database["objects"]

    @property
    def object_heads(self) -> Collection:
        """Names of objects and ops: fields shared by all versions of a name, used by writers."""
        return self._database["object_heads"]

    @property
    def tables(self) -> Collection:
        """Tables: the ids of their chunks in order."""
        return self._database["tables"]

    @property
    def table_chunks(self) -> Collection:
        """Chunks of row digests, shared between tables."""
        return self._database["table_chunks"]

    @property
    def table_rows(self) -> Collection:
        """Table rows, stored once per project however many tables have them."""
        return self._database["table_rows"]

    @property
    def table_uploads(self) -> Collection:
        """Uploads in progress of tables too large for one transaction."""
        return self._database["table_uploads"]

    @property
    def feedback(self) -> Collection:
        """Feedback, one document each."""
        return self._database["feedback"]

    @property
    def files(self) -> Collection:
        """Files, one document each, in GridFS format."""
        return self._database["files.files"]

    @property
    def file_chunks(self) -> Collection:
        """Chunks of file content, in GridFS format."""
        return self._database["files.chunks"]

    @property
    def file_uploads(self) -> Collection:
        """File uploads in progress."""
        return self._database["file_uploads"]

    @property
    def doomed_files(self) -> Collection:
        """Deleted files whose content is not yet deleted."""
        return self._database["doomed_files"]

    @property
    def evaluation_runs(self) -> Collection:
        """Queued and running evaluation runs, one document each until the run ends."""
        return self._database["evaluation_runs"]

    @property
    def projects(self) -> Collection:
        """Projects, one document per project that was created or written to."""
        return self._database["projects"]

    @property
    def upgrades(self) -> Collection:
        """Progress of the migrations of stored data, one document each."""
        return self._database["upgrades"]

    @property
    def purges(self) -> Collection:
        """The latest purge of each project."""
        return self._database["purges"]

    @property
    def retention(self) -> Collection:
        """Retention rules and sweep progress, one document per project that ever had a rule."""
        return self._database["retention"]

    @property
    def search_indexes(self) -> Collection:
        """Text indexes, one document per project that ever had one."""
        return self._database["search_indexes"]

    @property
    def search_segments(self) -> Collection:
        """Segments of text indexes and the calls they cover."""
        return self._database["search_segments"]

    @property
    def search_words(self) -> Collection:
        """Words of the segments with the calls that contain them, some hundred words per document."""
        return self._database["search_words"]

    @property
    def api_keys(self) -> Collection:
        """API keys, one document per key ever created, without its secret."""
        return self._database["api_keys"]

    @property
    def api_key_changes(self) -> Collection:
        """Number of changes to the API keys: one document."""
        return self._database["api_key_changes"]

    @property
    def secrets(self) -> Collection:
        """Secrets shared by all servers on this database, one document each."""
        return self._database["secrets"]

    @property
    def leases(self) -> Collection:
        """Leases for work that one process does at a time, one document each."""
        return self._database["leases"]
