"""The indexes of every collection in one table, each with the queries it serves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel

from stores.database.collections import names

Keys = list[tuple[str, int]]

_VISIBLE: Final = ("project_id", "visible")
_COMPRESSED: Final = {"wiredTiger": {"configString": "block_compressor=zstd"}}


@dataclass(frozen=True)
class Index:
    """One index.

    Args:
        collection: the name of the collection.
        paths: the keys in order; `-` marks a descending one, and `visible` stands for `project_id visible`.
        serves: the queries that it serves.
        exists: a path without which a document is not indexed.
        equals: values that a document must have to be indexed.
        unique: True if no two documents may have the same keys.
        compressed: True if MongoDB compresses the index on disk. It halves an index whose keys come almost in order.
            An index of random keys rewrites its pages too often: mongod would take 1.5 times as long for a write of
            calls. Totals have random keys too, but there are few, and a background job writes them.
    """

    collection: str
    paths: str
    serves: str
    exists: str = ""
    equals: dict[str, Any] = field(default_factory=dict)
    unique: bool = False
    compressed: bool = False

    @property
    def keys(self) -> Keys:
        """The paths in order, each with its direction."""
        paths = self.paths.replace("visible", " ".join(_VISIBLE), 1).split()
        if self.compressed:
            # MongoDB refuses to build an index beside one with the same keys that an earlier version did not compress.
            # Each query names its project, so that the direction of the project matters to none.
            paths[0] = f"-{paths[0]}"
        return [(path.removeprefix("-"), DESCENDING if path.startswith("-") else ASCENDING) for path in paths]

    @property
    def name(self) -> str:
        """Name in MongoDB: the keys, without the prefix that most indexes share."""
        names = [f"{path}_desc" if order < 0 else path for path, order in self.keys if path not in _VISIBLE]
        return "_".join([*names, "compressed"] if self.compressed else names)

    @property
    def only(self) -> dict[str, Any]:
        """The partial filter; empty if every document is indexed."""
        return {self.exists: {"$exists": True}} if self.exists else self.equals

    def model(self) -> IndexModel:
        """Build the driver's model of the index."""
        options: dict[str, Any] = {"partialFilterExpression": self.only} if self.only else {}
        options |= {"unique": True} if self.unique else {}
        options |= {"storageEngine": _COMPRESSED} if self.compressed else {}
        return IndexModel(self.keys, name=self.name, **options)


INDEXES: Final = (
    Index("calls", "visible started_at id", "the list by time; time ranges", compressed=True),
    Index(
        "calls",
        "visible trace_id started_at id storage_size_bytes",
        "a trace; the size of a trace, and of all calls of a project",
    ),
    Index("calls", "visible parent_id started_at id", "a call's children; roots by time"),
    Index(
        "calls",
        "visible parent_id example_digest started_at id",
        "the rows of an evaluation by example, as a covered query",
        exists="example_digest",
    ),
    Index("calls", "visible thread_id started_at id", "a thread", exists="thread_id", compressed=True),
    Index("calls", "visible turn_id started_at id", "a turn", exists="turn_id"),
    Index(
        "calls",
        "visible turn_of started_at id ended_at",
        "threads as a covered query; the turns of a thread",
        exists="turn_of",
        compressed=True,
    ),
    Index(
        "calls", "visible started_at turn_of id ended_at", "threads in a time range", exists="turn_of", compressed=True
    ),
    Index(
        "calls",
        "visible ended_at turn_of started_at",
        "the threads of the last turns",
        exists="turn_of",
        compressed=True,
    ),
    Index("calls", "visible wb_run_id started_at id", "a run", exists="wb_run_id", compressed=True),
    Index("calls", "visible user_id started_at id", "the calls for an end user", exists="user_id", compressed=True),
    Index(
        "calls", "visible error_type started_at id", "calls with a type of error", exists="error_type", compressed=True
    ),
    Index("calls", "visible latency_ms id", "the slowest calls; ranges of latency"),
    Index(
        "calls",
        "visible total_tokens id",
        "the calls with the most tokens first; ranges of tokens",
        exists="total_tokens",
    ),
    Index("calls", "visible op_name started_at id", "an op by time; all versions of an op", compressed=True),
    Index(
        "calls", "visible status started_at id", "calls by status and time, each in either direction", compressed=True
    ),
    Index(
        "calls",
        "visible usage_scope started_at id ended_at",
        "calls with unclear usage scope, and their time ranges",
        equals={"usage_scope": "unclear"},
        compressed=True,
    ),
    Index(
        "calls",
        "visible input_refs started_at id",
        "calls with an object among their inputs",
        exists="input_refs",
        compressed=True,
    ),
    Index(
        "calls",
        "visible output_refs started_at id",
        "calls with an object in their output",
        exists="output_refs",
        compressed=True,
    ),
    Index(
        "calls", "project_id deleted_at", "deleted calls, which the tombstone sweep purges later", exists="deleted_at"
    ),
    Index(
        "calls",
        "project_id search_due storage_size_bytes",
        "calls that wait for text indexing, and their total size",
        exists="search_due",
    ),
    Index(
        "objects",
        "visible created_at id size_bytes",
        "the list of objects by time; the size of a project's objects",
    ),
    Index("objects", "visible is_latest created_at id", "latest versions by time"),
    Index("objects", "visible kind created_at id", "objects or ops by time"),
    Index("objects", "visible base_object_class created_at id", "objects of a class by time"),
    Index("objects", "visible object_id kind version_index id", "objects by name; the versions of a name, in order"),
    Index("objects", "project_id kind object_id version_index", "the version with a version index", unique=True),
    Index("objects", "project_id kind object_id digest", "the version with a digest", unique=True),
    Index(
        "objects", "project_id kind object_id", "the one latest version of a name", equals={"is_latest": 1}, unique=True
    ),
    Index("object_heads", "project_id kind object_id", "the version counter of a name", unique=True),
    Index("feedback", "project_id created_at id", "the list of feedback by time; time ranges"),
    Index(
        "feedback",
        "project_id feedback_type -created_at -id",
        "feedback of a type by time; all feedback by type, the newest of each type first; counts per type",
    ),
    Index("feedback", "project_id call_id created_at id", "feedback on a call", exists="call_id"),
    Index("feedback", "project_id weave_ref created_at id", "feedback on a ref's target"),
    Index("table_rows", "project_id size_bytes", "the size of a project's table rows"),
    Index("table_rows", "uploads", "the rows that a table upload wrote", exists="uploads"),
    Index("table_chunks", "uploads", "the chunks that a table upload wrote", exists="uploads"),
    Index("costs", "project_id created_at id", "costs by time"),
    Index("costs", "project_id llm_id", "the prices of models"),
    Index("files.files", "project_id digest", "a file by digest", unique=True),
    Index("files.files", "project_id length", "the size of a project's files"),
    Index("files.chunks", "files_id n", "a chunk of a file", unique=True),
    Index("evaluation_runs", "created_at", "queued and running evaluation runs, oldest first"),
    Index("hour_marks", "live_until", "marks that have expired", exists="live_until"),
    Index("rollups", "project_id unit started_at", "the roll-ups of hours or days in a time range"),
    Index("trace_totals", "project_id hours", "the totals of traces with calls in some hours"),
    *(
        Index("trace_totals", f"project_id {path} id", f"traces by {what}, of equal ones by id", compressed=True)
        for path, what in (
            ("total_cost", "cost"),
            ("total_tokens", "tokens"),
            ("latency_ms", "latency"),
            ("num_errors", "number of errors"),
        )
    ),
    Index("trace_totals", "project_id turns.thread", "the traces of a thread", exists="turns.thread"),
    *(
        Index("thread_totals", f"project_id {path} id", f"threads by {what}, of equal ones by id", compressed=True)
        for path, what in (
            ("total_cost", "cost"),
            ("total_tokens", "tokens"),
            ("num_calls", "number of calls"),
            ("num_errors", "number of errors"),
            ("turn_count", "number of turns"),
            ("p50_turn_duration_ms", "median duration of turns"),
            ("p99_turn_duration_ms", "99th percentile of the duration of turns"),
        )
    ),
    Index("thread_totals", "project_id stale", "threads to read from their turns", exists="stale"),
    Index("term_segments", "project_id unit start", "the segments of hours and days in a time range"),
    Index("search_words", "project_id -segment bucket", "the words of a search, newest segments first"),
    Index("search_segments", "project_id checked_at", "the segments of an index, and those to check again"),
    Index("search_indexes", "is_done", "unfinished text indexes", equals={"is_done": False}),
    Index("retention", "due_at", "the projects whose sweep is due"),
    Index("purges", "is_done", "running purges", equals={"is_done": False}),
    Index("projects", "id", "the default list of projects; those of an entity"),
    Index("projects", "name id", "projects by name alone"),
    Index("projects", "last_activity_at id", "projects by last activity"),
)

RETIRED: Final = {
    "calls": (
        "trace_id_started_at_id",
        "started_at_desc_id",
        "parent_id_started_at_desc_id",
        "op_name_started_at_desc_id",
        "status_id",
        "status_desc_id",
        "status_started_at_desc_id",
        "latency_ms_desc_id",
        "total_tokens_desc_id",
        "started_at_id",
        "thread_id_started_at_id",
        "turn_of_started_at_id_ended_at",
        "started_at_turn_of_id_ended_at",
        "ended_at_turn_of_started_at",
        "wb_run_id_started_at_id",
        "user_id_started_at_id",
        "error_type_started_at_id",
        "op_name_started_at_id",
        "status_started_at_id",
        "usage_scope_started_at_id_ended_at",
        "input_refs_started_at_id",
        "output_refs_started_at_id",
    ),
    "objects": (
        "created_at_id",
        "created_at_desc_id",
        "is_latest_created_at_desc_id",
        "kind_created_at_desc_id",
        "base_object_class_created_at_desc_id",
    ),
    "feedback": ("created_at_desc_id", "feedback_type_created_at_id", "feedback_type_created_at_desc_id"),
    "projects": ("last_activity_at_desc_id",),
    "trace_totals": ("total_cost", "total_tokens", "latency_ms", "num_errors"),
    "thread_totals": (
        "total_cost",
        "total_tokens",
        "num_calls",
        "num_errors",
        "turn_count",
        "p50_turn_duration_ms",
        "p99_turn_duration_ms",
    ),
}
"""Names of replaced indexes to drop, by collection; a name never returns."""


def predecessor(name: str) -> str:
    """Return the name of the index that an index of the name replaces, if it replaces one with the same keys."""
    return name.removesuffix("_compressed")


BY_ID: Final = "_id_"
"""Hint to the index of `_id`. Without it, MongoDB tries other indexes, and skips all keys that were deleted there."""


def index_by(collection: str, *paths: str) -> str:
    """Return the name of the first index of a collection that begins with some keys, in either direction."""
    return next(
        index.name
        for index in INDEXES
        if index.collection == collection and [path for path, _ in index.keys][: len(paths)] == [*paths]
    )


def definition(index: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what MongoDB compares of an index besides its name."""
    only = index.get("partialFilterExpression", {})
    only = {path: dict(each) if isinstance(each, Mapping) else each for path, each in only.items()}
    return list(index["key"].items()), only, index.get("unique", False), index.get("sparse", False)


def missing(models: Iterable[IndexModel], existing: Iterable[Mapping[str, Any]]) -> list[IndexModel]:
    """Return the models of which no index exists under any name."""
    definitions = [definition(index) for index in existing]
    return [model for model in models if definition(model.document) not in definitions]


def models() -> dict[str, list[IndexModel]]:
    """Return the index models to build, by collection.

    Each collection has `_id`. To build it creates a collection that has no other index. A transaction must create none:
    MongoDB refuses that if it writes to several shards, and then refuses reads in snapshots from before.
    """
    found = {name: [IndexModel([("_id", ASCENDING)], name="_id_")] for name in names()}
    return found | {
        name: [index.model() for index in INDEXES if index.collection == name]
        for name in dict.fromkeys(index.collection for index in INDEXES)
    }
