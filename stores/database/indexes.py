"""The indexes of every collection in one table, each with the queries it serves."""

from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel

Keys = list[tuple[str, int]]

_VISIBLE: Final = [("project_id", ASCENDING), ("visible", ASCENDING)]
_PREFIX_PATHS: Final = ("project_id", "visible")


@dataclass(frozen=True)
class Index:
    """One index: collection, keys in order, queries it serves, partial filter, uniqueness."""

    collection: str
    keys: Keys
    serves: str
    only: dict[str, Any] = field(default_factory=dict)
    unique: bool = False

    @property
    def name(self) -> str:
        """Name in MongoDB: the keys, without the prefix that most indexes share."""
        return "_".join(f"{path}_desc" if order < 0 else path for path, order in self.keys if path not in _PREFIX_PATHS)

    def model(self) -> IndexModel:
        """Build the driver's model of the index."""
        options: dict[str, Any] = {"partialFilterExpression": self.only} if self.only else {}
        return IndexModel(self.keys, name=self.name, **options, **({"unique": True} if self.unique else {}))


def _calls(
    serves: str, *by: str, newest_first: bool = False, only: dict[str, Any] | None = None, sums: str | None = None
) -> Index:
    order = DESCENDING if newest_first else ASCENDING
    keys = [*_VISIBLE, *((path, ASCENDING) for path in by), ("started_at", order), ("id", ASCENDING), *_sum_key(sums)]
    return Index("calls", keys, serves, only or {})


def _objects(serves: str, *by: str, newest_first: bool = False, sums: str | None = None) -> Index:
    order = DESCENDING if newest_first else ASCENDING
    keys = [*_VISIBLE, *((path, ASCENDING) for path in by), ("created_at", order), ("id", ASCENDING), *_sum_key(sums)]
    return Index("objects", keys, serves)


def _sum_key(sums: str | None) -> Keys:
    """Return the key of the summed number, placed last so that a covered query can read it."""
    return [(sums, ASCENDING)] if sums else []


def _feedback(serves: str, *by: str, newest_first: bool = False, only: dict[str, Any] | None = None) -> Index:
    order = DESCENDING if newest_first else ASCENDING
    keys = [*((path, ASCENDING) for path in ("project_id", *by)), ("created_at", order), ("id", ASCENDING)]
    return Index("feedback", keys, serves, only or {})


def _uploads(collection: str, serves: str) -> Index:
    return Index(collection, [("uploads", ASCENDING)], serves, {"uploads": {"$exists": True}})


_NAME: Final = [("project_id", ASCENDING), ("kind", ASCENDING), ("object_id", ASCENDING)]

INDEXES: Final = (
    _calls("the default list, oldest first; time ranges"),
    _calls("the list newest first", newest_first=True),
    _calls("a trace; the size of a trace, and of all calls of a project", "trace_id", sums="storage_size_bytes"),
    _calls("a call's children; roots only, oldest first", "parent_id"),
    _calls("roots only, newest first", "parent_id", newest_first=True),
    _calls(
        "the rows of an evaluation by example, as a covered query",
        "parent_id",
        "example_digest",
        only={"example_digest": {"$exists": True}},
    ),
    _calls("a thread", "thread_id", only={"thread_id": {"$exists": True}}),
    _calls("a turn", "turn_id", only={"turn_id": {"$exists": True}}),
    Index(
        "calls",
        [*_VISIBLE, *((path, ASCENDING) for path in ("turn_of", "started_at", "id", "ended_at"))],
        "threads as a covered query; the turns of a thread",
        {"turn_of": {"$exists": True}},
    ),
    Index(
        "calls",
        [*_VISIBLE, *((path, ASCENDING) for path in ("started_at", "turn_of", "id", "ended_at"))],
        "threads in a time range",
        {"turn_of": {"$exists": True}},
    ),
    _calls("a run", "wb_run_id", only={"wb_run_id": {"$exists": True}}),
    Index("calls", [*_VISIBLE, ("latency_ms", DESCENDING), ("id", ASCENDING)], "the slowest calls; ranges of latency"),
    Index(
        "calls", [*_VISIBLE, ("total_tokens", DESCENDING), ("id", ASCENDING)], "the calls with the most tokens; ranges"
    ),
    _calls("an op, oldest first; all versions of an op", "op_name"),
    _calls("an op, newest first", "op_name", newest_first=True),
    Index("calls", [*_VISIBLE, ("status", ASCENDING), ("id", ASCENDING)], "calls by status alone"),
    Index("calls", [*_VISIBLE, ("status", DESCENDING), ("id", ASCENDING)], "calls by status alone, from the last"),
    _calls("calls by status, oldest first", "status"),
    _calls("calls by status, newest first", "status", newest_first=True),
    Index(
        "calls",
        [*_VISIBLE, *((path, ASCENDING) for path in ("usage_scope", "started_at", "id", "ended_at"))],
        "calls with unclear usage scope, and their time ranges",
        {"usage_scope": "unclear"},
    ),
    _calls("calls with an object among their inputs", "input_refs", only={"input_refs": {"$exists": True}}),
    _calls("calls with an object in their output", "output_refs", only={"output_refs": {"$exists": True}}),
    Index(
        "calls",
        [("project_id", ASCENDING), ("deleted_at", ASCENDING)],
        "deleted calls, which the tombstone sweep purges later",
        {"deleted_at": {"$exists": True}},
    ),
    Index(
        "calls",
        [*((path, ASCENDING) for path in ("project_id", "search_due", "storage_size_bytes"))],
        "calls that wait for text indexing, and their total size",
        {"search_due": {"$exists": True}},
    ),
    _objects("the default list of objects, oldest first; the size of a project's objects", sums="size_bytes"),
    _objects("objects, newest first", newest_first=True),
    _objects("latest versions, oldest first", "is_latest"),
    _objects("latest versions, newest first", "is_latest", newest_first=True),
    _objects("objects or ops, oldest first", "kind"),
    _objects("objects or ops, newest first", "kind", newest_first=True),
    _objects("objects of a class, oldest first", "base_object_class"),
    _objects("objects of a class, newest first", "base_object_class", newest_first=True),
    Index(
        "objects",
        [*_VISIBLE, *((path, ASCENDING) for path in ("object_id", "kind", "version_index", "id"))],
        "objects by name; the versions of a name, in order",
    ),
    Index("objects", [*_NAME, ("version_index", ASCENDING)], "the version with a version index", unique=True),
    Index("objects", [*_NAME, ("digest", ASCENDING)], "the version with a digest", unique=True),
    Index("objects", _NAME, "the one latest version of a name", {"is_latest": 1}, unique=True),
    Index("object_heads", _NAME, "the version counter of a name", unique=True),
    _feedback("the default list of feedback, oldest first; time ranges"),
    _feedback("feedback, newest first", newest_first=True),
    _feedback("feedback of a type, oldest first; counts per type", "feedback_type"),
    _feedback("feedback of a type, newest first", "feedback_type", newest_first=True),
    _feedback("feedback on a call", "call_id", only={"call_id": {"$exists": True}}),
    _feedback("feedback on a ref's target", "weave_ref"),
    Index("table_rows", [("project_id", ASCENDING), ("size_bytes", ASCENDING)], "the size of a project's table rows"),
    _uploads("table_rows", "the rows that a table upload wrote"),
    _uploads("table_chunks", "the chunks that a table upload wrote"),
    Index("costs", [("project_id", ASCENDING), ("created_at", ASCENDING), ("id", ASCENDING)], "costs, oldest first"),
    Index("costs", [("project_id", ASCENDING), ("llm_id", ASCENDING)], "the prices of models"),
    Index("files.files", [("project_id", ASCENDING), ("digest", ASCENDING)], "a file by digest", unique=True),
    Index("files.files", [("project_id", ASCENDING), ("length", ASCENDING)], "the size of a project's files"),
    Index("files.chunks", [("files_id", ASCENDING), ("n", ASCENDING)], "a chunk of a file", unique=True),
    Index("evaluation_runs", [("created_at", ASCENDING)], "queued and running evaluation runs, oldest first"),
    Index(
        "search_words",
        [("project_id", ASCENDING), ("segment", DESCENDING), ("bucket", ASCENDING)],
        "the words of a search, newest segments first",
    ),
    Index(
        "search_segments",
        [("project_id", ASCENDING), ("checked_at", ASCENDING)],
        "the segments of an index, and those to check again",
    ),
    Index("search_indexes", [("is_done", ASCENDING)], "unfinished text indexes", {"is_done": False}),
    Index("retention", [("due_at", ASCENDING)], "the projects whose sweep is due"),
    Index("purges", [("is_done", ASCENDING)], "running purges", {"is_done": False}),
    Index("projects", [("id", ASCENDING)], "the default list of projects; those of an entity"),
    Index("projects", [("name", ASCENDING), ("id", ASCENDING)], "projects by name alone"),
    Index("projects", [("last_activity_at", DESCENDING), ("id", ASCENDING)], "projects by last activity"),
)

RETIRED: Final = {"calls": ("trace_id_started_at_id",), "objects": ("created_at_id",)}
"""Names of replaced indexes to drop, by collection."""


def models() -> dict[str, list[IndexModel]]:
    """Return the index models to build, by collection."""
    return {
        name: [index.model() for index in INDEXES if index.collection == name]
        for name in dict.fromkeys(index.collection for index in INDEXES)
    }
