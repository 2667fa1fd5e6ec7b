"""The collections of a database, and what is in each."""

from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]


class Collections:
    """The collections of one database, each by its name."""

    def __init__(self, database: "AsyncIOMotorDatabase[Document]") -> None:
        self._database = database

    @property
    def calls(self) -> Collection:
        """The calls, one document each."""
        return self._database["calls"]

    @property
    def costs(self) -> Collection:
        """What the tokens of models cost, as projects set it."""
        return self._database["costs"]

    @property
    def objects(self) -> Collection:
        """The objects and ops: a document for each version."""
        return self._database["objects"]

    @property
    def object_heads(self) -> Collection:
        """The names of objects and ops: what all versions of one have in common, for those who write them."""
        return self._database["object_heads"]

    @property
    def tables(self) -> Collection:
        """The tables: of each the chunks that its rows' digests are in, in order."""
        return self._database["tables"]

    @property
    def table_chunks(self) -> Collection:
        """Stretches of row digests, shared by the tables that have them in common."""
        return self._database["table_chunks"]

    @property
    def table_rows(self) -> Collection:
        """The rows of tables, each once however many tables have it."""
        return self._database["table_rows"]

    @property
    def table_uploads(self) -> Collection:
        """The tables that are under way, and too large for one transaction."""
        return self._database["table_uploads"]

    @property
    def feedback(self) -> Collection:
        """The feedback, one document each."""
        return self._database["feedback"]

    @property
    def files(self) -> Collection:
        """The files, one document each, as GridFS has them."""
        return self._database["files.files"]

    @property
    def file_chunks(self) -> Collection:
        """The content of the files in parts, as GridFS has them."""
        return self._database["files.chunks"]

    @property
    def file_uploads(self) -> Collection:
        """The uploads of files that are under way."""
        return self._database["file_uploads"]

    @property
    def doomed_files(self) -> Collection:
        """The files that were removed and whose content is still to go."""
        return self._database["doomed_files"]

    @property
    def evaluation_runs(self) -> Collection:
        """The runs of evaluations that the server has under way: a document for each, until it has ended."""
        return self._database["evaluation_runs"]

    @property
    def projects(self) -> Collection:
        """The projects: a document for each that was asked for or written into."""
        return self._database["projects"]

    @property
    def upgrades(self) -> Collection:
        """How far the upgrades of what older versions stored are: a document for each."""
        return self._database["upgrades"]

    @property
    def purges(self) -> Collection:
        """The purges of projects: of each project the last one."""
        return self._database["purges"]

    @property
    def retention(self) -> Collection:
        """What is kept of projects and how far their sweeps are: a document for each that ever had a rule."""
        return self._database["retention"]

    @property
    def search_indexes(self) -> Collection:
        """The indexes of texts: a document for each project that ever had one."""
        return self._database["search_indexes"]

    @property
    def search_segments(self) -> Collection:
        """Which calls the segments of those indexes are of."""
        return self._database["search_segments"]

    @property
    def search_words(self) -> Collection:
        """The words of segments, some hundred to a document, each with the calls that have it."""
        return self._database["search_words"]

    @property
    def api_keys(self) -> Collection:
        """The keys of all who may come in: a document for each that ever was, without its secret."""
        return self._database["api_keys"]

    @property
    def api_key_changes(self) -> Collection:
        """How often those were changed: one document."""
        return self._database["api_key_changes"]

    @property
    def secrets(self) -> Collection:
        """What the servers over the database know and tell nobody: a document for each."""
        return self._database["secrets"]

    @property
    def leases(self) -> Collection:
        """What only one process does at a time: a document for each."""
        return self._database["leases"]
